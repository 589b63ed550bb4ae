package oci

import "golang.org/x/sys/unix"

// The descriptors of KeepProgram.
const (
	KeepFD  = 3 // what is kept
	KeepEnd = 4 // a pidfd
)

// KeepProgram returns a program like pause, which keeps a descriptor open until a process has ended:
//
//	prctl(PR_SET_NAME, "terminal")
//	while (ppoll({KeepEnd, POLLIN}, 1, NULL, NULL, 8) < 0) ;
//	exit_group(0)
func KeepProgram() []byte { return image(keepProgram) }

func keepProgram(a *assembler) {
	name := a.cstring("terminal")
	a.call(unix.SYS_PRCTL, num(unix.PR_SET_NAME), name, num(0), num(0), num(0))
	again := len(a.code)
	// struct pollfd: the descriptor, the events (16 bits), the results (16 bits).
	a.callOnStack(unix.SYS_PPOLL, KeepEnd|unix.POLLIN<<32, num(1), num(0), num(0), num(8))
	a.loopIfNegative(again)
	a.call(unix.SYS_EXIT_GROUP, num(0))
}
