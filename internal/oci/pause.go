package oci

import (
	"os"
	"os/signal"
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
	hearAllSignals()
	becomeSmall()
	return pauseInGo()
}

// becomeSmall only returns when it did not work. Execution goes by descriptor (execveat, Linux 3.19), because a pod's
// root need not have a procfs.
func becomeSmall() {
	fd, err := executableMemfd("pause")
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
	_, _, _ = unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])), unix.AT_EMPTY_PATH, 0)
}

// pauseInGo is the same program.
func pauseInGo() int {
	signal.Ignore(unix.SIGCHLD)
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM, unix.SIGINT)
	<-end
	return 0
}

// pauseSignals are the signals that end it.
const pauseSignals = 1<<(unix.SIGTERM-1) | 1<<(unix.SIGINT-1)
