package security

func rewrite(string) int { return 0 }
