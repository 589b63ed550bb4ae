package oci

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// pauseProgram is
//
//	rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8)
//	rt_sigprocmask(SIG_BLOCK, {TERM, INT}, NULL, 8)
//	prctl(PR_SET_NAME, "pause")
//	while (rt_sigtimedwait({TERM, INT}, NULL, NULL, 8) < 0) ;
//	exit_group(0)
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
