package oci

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PauseMain is the role "pause": it holds a pod's namespaces, reaps orphans when it is pid 1 of the pod, and ends on
// TERM or INT with code 0.
//
// There is one per pod, so it should weigh nothing. A Go program weighs 1 to 4 MB, so this one replaces itself with a
// program of a few hundred bytes (pauseProgram) that does the same; where that cannot be executed, Go does the waiting.
//
// Children are not waited for: with SIGCHLD ignored the kernel reaps them itself, also those that were zombies when
// they came (kernel/exit.c, reparent_leader).
func PauseMain([]string) int {
	runtime.LockOSThread()
	becomeSmall()
	return pauseInGo()
}

// becomeSmall only returns when it did not work. Execution goes by descriptor (execveat, Linux 3.19), because a pod's
// root need not have a procfs.
func becomeSmall() {
	fd, err := unix.MemfdCreate("pause", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err != nil {
		return
	}
	program := image(pauseProgram)
	if n, err := unix.Write(fd, program); err != nil || n != len(program) {
		return
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, allSeals); err != nil {
		return
	}
	empty := [1]byte{}
	name := []byte("pause\x00")
	argv := [2]*byte{&name[0], nil}
	envv := [1]*byte{}
	unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])), unix.AT_EMPTY_PATH, 0)
}

// pauseInGo is the same program. TERM and INT are taken by sigtimedwait in the main thread, which the kernel prefers
// while it waits there (kernel/signal.c, complete_signal), so Go's own handlers never see them.
func pauseInGo() int {
	ignore := sigaction{handler: 1} // SIG_IGN
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&ignore)), 0, 8, 0, 0)
	if e != 0 {
		return 1
	}
	var set unix.Sigset_t
	set.Val[0] = pauseSignals
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
		return 1
	}
	for {
		sig, _, e := unix.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&set)), 0, 0, 8, 0, 0)
		switch {
		case e == 0 && sig > 0:
			os.Exit(0)
		case e != unix.EINTR && e != unix.EAGAIN:
			return 1
		}
	}
}

// pauseSignals are the signals that end it.
const pauseSignals = 1<<(unix.SIGTERM-1) | 1<<(unix.SIGINT-1)

// sigaction is the kernel's struct on 64-bit machines.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}
