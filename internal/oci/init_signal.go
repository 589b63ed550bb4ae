package oci

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct (asm/signal.h), the same on amd64 and arm64.
type sigaction struct {
	handler  uintptr // SIG_DFL is 0, SIG_IGN is 1
	flags    uint64
	restorer uintptr
	mask     uint64
}

// lastSignal is the kernel's _NSIG.
const lastSignal = 64

// hearAllSignals gives signals that are ignored their default effect again: what a shell or a tool up the line ignores
// (`skiff up &`, nohup) passes through fork and exec, and a container would never hear a ^C. Go's own package leaves
// the signals of the C library's threads (32, 33) alone, hence the system call. Signals with a handler stay: exec
// resets them.
func hearAllSignals() {
	for sig := uintptr(1); sig <= lastSignal; sig++ {
		var old sigaction
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&old)), unsafe.Sizeof(old.mask), 0, 0)
		if errno != 0 || old.handler != 1 {
			continue
		}
		// KILL and STOP cannot be ignored, so the call cannot fail.
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&sigaction{})), 0, unsafe.Sizeof(old.mask), 0, 0)
	}
}
