package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// newFlags makes a quiet flag set: errors are reported once, by report.
func newFlags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

func helpFlag(fs *flag.FlagSet) *bool {
	h := fs.Bool("help", false, "")
	fs.BoolVar(h, "h", false, "")
	return h
}

// errHelped says that help was asked for and given, so that there is nothing else to do.
var errHelped = errors.New("help was printed")

// parse reads a verb's flags and checks how many arguments follow; max < 0: any number, which are another program's
// together with what looks like flags among them.
func (a *app) parse(fs *flag.FlagSet, args []string, min, max int) error {
	help := helpFlag(fs)
	read := parseAnywhere
	if max < 0 {
		read = (*flag.FlagSet).Parse
	}
	err := read(fs, args)
	switch {
	case err != nil:
		return err
	case *help:
		a.verbUsage(fs)
		return errHelped
	case fs.NArg() < min:
		return fmt.Errorf("%q requires at least %d argument(s)", fs.Name(), min)
	case max >= 0 && fs.NArg() > max:
		return fmt.Errorf("%q requires at most %d argument(s)", fs.Name(), max)
	}
	return nil
}

// parseAnywhere takes flags before, between and behind the arguments, as runc does (`delete ID --force`); "--" ends
// them. Package flag stops at the first argument, so it gets one flag at a time.
func parseAnywhere(fs *flag.FlagSet, args []string) error {
	var rest []string
	for len(args) > 0 {
		arg := args[0]
		if arg == "--" {
			rest = append(rest, args[1:]...)
			break
		}
		n := 1
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
		} else {
			if takesNext(fs, arg) && len(args) > 1 {
				n = 2
			}
			if err := fs.Parse(args[:n]); err != nil {
				return err
			}
		}
		args = args[n:]
	}
	return fs.Parse(append([]string{"--"}, rest...))
}

// takesNext tells whether the flag's value is the next word.
func takesNext(fs *flag.FlagSet, arg string) bool {
	f := fs.Lookup(strings.TrimPrefix(arg[1:], "-"))
	if f == nil { // unknown, or with "=value"
		return false
	}
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return !ok || !b.IsBoolFlag()
}
