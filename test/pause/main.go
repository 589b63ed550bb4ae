// Command pause writes skiff's program of a pod's first process, for those
// who make an image of it.
package main

import (
	"fmt"
	"os"

	"go.skiff.dev/skiff/internal/oci"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: pause FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], oci.PauseProgram(), 0o755); err != nil {
		fmt.Fprintln(os.Stderr, "pause:", err)
		os.Exit(1)
	}
}
