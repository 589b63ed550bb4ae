// Command skiff-oci is the small program at the kernel's edge: OCI runtime, supervisor, container init and pause in
// one static file. It starts once per container, so what it imports is paid each time: std, x/sys and little else.
package main

import (
	"os"

	"skiff.dev/skiff/internal/oci"
	"skiff.dev/skiff/internal/supervisor"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "init":
			oci.InitMain(os.Args[2:])
		case "pause":
			os.Exit(oci.PauseMain(os.Args[2:]))
		case "supervisor":
			os.Exit(supervisor.Main(os.Args[2:]))
		}
	}
	os.Exit(command(os.Args[1:]))
}
