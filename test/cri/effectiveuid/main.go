// Command effectiveuid prints its effective user id, as the suite's image for
// noNewPrivileges does: there it is setuid root.
package main

import (
	"fmt"
	"os"
)

func main() { fmt.Printf("Effective uid: %d\n", os.Geteuid()) }
