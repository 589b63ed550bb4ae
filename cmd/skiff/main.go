// Skiff is Kubernetes in one small boat: one static binary that turns a Linux
// machine into a cluster. See internal/README.md for the map of its organs.
package main

import (
	"os"

	"skiff.dev/skiff/internal/cli"
)

func main() {
	os.Exit(cli.Run(os.Args, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
