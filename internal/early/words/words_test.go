package words

import "testing"

func TestTranslates(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		want bool
	}{
		{[]string{"skiff", "kubectl", "get"}, nil, false},
		{[]string{"skiff", "kubectl", "get"}, map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{[]string{"/usr/local/bin/kubectl", "get"}, map[string]string{"LC_ALL": "ja_JP.UTF-8", "LANG": "C"}, true},
		{[]string{"kubectl"}, map[string]string{"LC_MESSAGES": "fr_FR.UTF-8"}, true},
		{[]string{"skiff", "up"}, map[string]string{"LANG": "de_DE.UTF-8"}, false},
		{[]string{"skiff", "kubectl"}, map[string]string{"LANG": "en_GB.UTF-8"}, false},
		{[]string{"skiff", "kubectl"}, map[string]string{"LANG": "C.UTF-8"}, false},
		{[]string{"skiff", "kubectl"}, map[string]string{"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, false},
		{[]string{"skiff", "kubectl"}, map[string]string{"LANG": "POSIX"}, false},
	} {
		if got := translates(c.args, func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v with %v: %t", c.args, c.env, got)
		}
	}
}
