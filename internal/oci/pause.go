package oci

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PauseMain is the role "pause": it holds a pod's namespaces, reaps orphans when it is pid 1 of the pod, and ends on
// TERM or INT. It is there once per pod, so it uses no goroutine, no os/signal and next to no memory.
//
// Children are not waited for: with SIGCHLD ignored the kernel reaps them itself, also those that were zombies when
// they came (kernel/exit.c, reparent_leader). TERM and INT are taken by sigtimedwait in the main thread, which the
// kernel prefers while it waits there (kernel/signal.c, complete_signal), so Go's own handlers never see them.
func PauseMain([]string) int {
	runtime.LockOSThread()
	ignore := sigaction{handler: 1} // SIG_IGN
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&ignore)), 0, 8, 0, 0)
	if e != 0 {
		return 1
	}
	var set unix.Sigset_t
	set.Val[0] = 1<<(unix.SIGTERM-1) | 1<<(unix.SIGINT-1)
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

// sigaction is the kernel's struct on 64-bit machines.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}
