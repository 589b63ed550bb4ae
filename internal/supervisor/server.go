package supervisor

// Main is the supervisor role of the skiff-oci program; args follow the word
// "supervisor". It returns the exit code.
//
//	skiff-oci supervisor --socket PATH --dir DIR
func Main(args []string) int { return 1 }
