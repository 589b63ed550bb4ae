// Package security shows that attacks which have happened do not work here.
// attacks_test.go is the table: which attack, which test. The tests of this
// package make hostile archives and images and let them loose on the real
// thing; where a package's own tests show it already, the table names those.
package security

import (
	"os"
	"runtime"
	"testing"

	"go.skiff.dev/skiff/internal/oci"
)

// TestMain also is init, and the hostile program of an image: the containers of
// these tests run this very binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "init":
			runtime.LockOSThread()
			oci.InitMain(os.Args[2:])
		case "rewrite":
			os.Exit(rewrite(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}
