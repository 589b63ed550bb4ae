package main

import (
	"fmt"
	"slices"
)

func (a *app) checkpoint(args []string) (int, error) { return a.refuse("checkpoint", args) }
func (a *app) restore(args []string) (int, error)    { return a.refuse("restore", args) }

// refuse says no to a verb of runc's that is not in the specification, whichever flags it comes with.
func (a *app) refuse(name string, args []string) (int, error) {
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		a.verbUsage(newFlags(name))
		return 0, nil
	}
	return 1, fmt.Errorf("%s is not supported: %s does not save and restore processes", name, a.name)
}
