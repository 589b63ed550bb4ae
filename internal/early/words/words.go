// Package words keeps kubectl's library from loading its translations when the
// program starts, which takes as long as all other packages together: it
// translates its help into variables. Who has set one of its languages and runs
// kubectl has them all the same.
//
// It must be initialised before the packages of kubectl's commands; see package
// early.
package words

import (
	"cmp"
	"os"
	"slices"
	"strings"

	"k8s.io/kubectl/pkg/util/i18n"
)

// The only error is that of a call that comes too late: it has cost its time
// and does no harm. A test tells.
var _ = i18n.SetLoadTranslationsFunc(func() error {
	if !translates(os.Args, os.Getenv) {
		return nil
	}
	return i18n.LoadTranslations("kubectl", nil)
})

// translates tells whether the command line is for kubectl and the environment
// asks for a language other than English, in which kubectl is written.
func translates(args []string, env func(string) string) bool {
	language := cmp.Or(env("LC_ALL"), env("LC_MESSAGES"), env("LANG"))
	english := language == "" || language == "C" || strings.HasPrefix(language, "C.") || language == "POSIX" || strings.HasPrefix(language, "en")
	return !english && slices.ContainsFunc(args, func(arg string) bool { return arg == "kubectl" || strings.HasSuffix(arg, "/kubectl") })
}
