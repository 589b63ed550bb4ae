// Package early keeps the garbage collector from running while the packages
// that the program links are initialised: they make some ten megabytes that all
// stay, and to go through them several times is a third of a command's start.
//
// It must be initialised before them. Go does that in the order of import paths
// among those that wait for nothing (decision 0021), so it imports nothing of
// ours, and main imports it.
package early

import "runtime/debug"

var percent = debug.SetGCPercent(-1)

// Collect lets the garbage collector run as it was asked to (GOGC). Main calls
// it first.
func Collect() { debug.SetGCPercent(percent) }
