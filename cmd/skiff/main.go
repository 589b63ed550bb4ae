// Skiff is Kubernetes in one small boat: one static binary that turns a Linux
// machine into a cluster. See internal/README.md for the map of its organs.
package main

import (
	"os"

	"go.skiff.dev/skiff/internal/cli"
	"go.skiff.dev/skiff/internal/early"
	_ "go.skiff.dev/skiff/internal/early/words"
)

func main() {
	early.Collect()
	os.Exit(cli.Run(os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
