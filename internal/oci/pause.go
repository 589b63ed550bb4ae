package oci

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// pauseSignals are the signals that end pause.
const pauseSignals = 1<<(unix.SIGTERM-1) | 1<<(unix.SIGINT-1)

// PauseProgram returns the program of a pod's first process, an ELF file of a few hundred bytes. It holds the pod's
// namespaces, reaps orphans when it is pid 1 of the pod, and ends on TERM or INT with code 0:
//
//	rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8)
//	rt_sigprocmask(SIG_BLOCK, {TERM, INT}, NULL, 8)
//	prctl(PR_SET_NAME, "pause")
//	while (rt_sigtimedwait({TERM, INT}, NULL, NULL, 8) < 0) ;
//	exit_group(0)
//
// There is one per pod, so it should weigh nothing; a Go program weighs 1 to 4 MB and takes a millisecond to start.
// Children are not waited for: with SIGCHLD ignored the kernel reaps them itself, also those that were zombies when
// they came (kernel/exit.c, reparent_leader).
func PauseProgram() []byte { return image(pauseProgram) }

func pauseProgram(a *assembler) {
	set := a.ref(binary.LittleEndian.AppendUint64(nil, pauseSignals))
	ignore := a.ref(append(binary.LittleEndian.AppendUint64(nil, 1), make([]byte, 24)...))
	name := a.cstring("pause")
	a.call(unix.SYS_RT_SIGACTION, num(int(unix.SIGCHLD)), ignore, num(0), num(8))
	a.call(unix.SYS_RT_SIGPROCMASK, num(unix.SIG_BLOCK), set, num(0), num(8))
	a.call(unix.SYS_PRCTL, num(unix.PR_SET_NAME), name, num(0), num(0), num(0))
	again := len(a.code)
	a.call(unix.SYS_RT_SIGTIMEDWAIT, set, num(0), num(0), num(8))
	a.loopIfNegative(again)
	a.call(unix.SYS_EXIT_GROUP, num(0))
}
