// Command skiff-oci is the small program at the kernel's edge: OCI runtime, supervisor and container init in one
// static file. It starts once per container, so what it imports is paid each time: std, x/sys and little else.
//
// Go looks through a process's cgroups for a limit of its CPUs before main begins; a container's init has no use for
// it, and the supervisor waits more than it computes.
//
//go:debug containermaxprocs=0
package main

import (
	"os"

	"go.skiff.dev/skiff/internal/oci"
	"go.skiff.dev/skiff/internal/supervisor"
)

// A container's init does its work here: see oci.InitMain.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		oci.InitMain(os.Args[2:])
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		os.Exit(supervisor.Main(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "monitor" {
		os.Exit(supervisor.Monitor(os.Args[2:]))
	}
	os.Exit(command(os.Args[1:]))
}
