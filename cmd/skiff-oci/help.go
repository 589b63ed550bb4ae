package main

import (
	"flag"
	"fmt"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/version"
)

func (a *app) usage() (int, error) {
	// Callers that look whether they have the command line of runc look for its name.
	like := ""
	if a.name != "runc" {
		like = ", with the command line of runc"
	}
	fmt.Fprintf(a.stdout, "NAME:\n   %s%s - Open Container Initiative runtime\n\n"+
		"USAGE:\n   %[1]s [global options] command [command options] [arguments...]\n\nVERSION:\n   %[3]s\n\nCOMMANDS:\n",
		a.name, like, version.Skiff)
	for _, v := range verbs() {
		fmt.Fprintf(a.stdout, "   %-10s %s\n", v.name, v.usage)
	}
	fmt.Fprint(a.stdout, "\nGLOBAL OPTIONS:\n   --root DIR  --log FILE  --log-format text|json  --debug  --systemd-cgroup  --version\n")
	return 0, nil
}

// verbUsage describes the verb that the flags are named after.
func (a *app) verbUsage(fs *flag.FlagSet) {
	for _, v := range verbs() {
		if v.name == fs.Name() {
			fmt.Fprintf(a.stdout, "NAME:\n   %s %s - %s\n\nUSAGE:\n   %[1]s %[2]s [command options] %s\n\nOPTIONS:\n",
				a.name, v.name, v.usage, v.args)
		}
	}
	fs.VisitAll(func(f *flag.Flag) {
		fmt.Fprintf(a.stdout, "   %s\n", strings.Repeat("-", min(len(f.Name), 2))+f.Name)
	})
}

// printVersion prints what callers read line by line.
func (a *app) printVersion() (int, error) {
	commit := version.Get().Commit
	if commit == "" {
		commit = "unknown"
	}
	_, err := fmt.Fprintf(a.stdout, "%s version %s\ncommit: %s\nspec: %s\n", a.name, version.Skiff, commit, specs.Version)
	return 0, err
}
