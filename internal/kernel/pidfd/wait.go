package pidfd

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Status is how a process ended: exactly one of an exit code or a signal.
type Status struct {
	Code   int
	Signal unix.Signal
	Core   bool
}

// siginfo is the part of the kernel's siginfo_t that waitid fills, as laid out on 64-bit machines.
type siginfo struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	status             int32
	_                  [100]byte
}

// Values of si_code for SIGCHLD, include/uapi/asm-generic/siginfo.h.
const (
	cldExited = 1
	cldDumped = 3
)

// Wait reaps the child behind f (waitid with P_PIDFD, Linux 5.4) and blocks its thread until it has ended.
func Wait(f *os.File) (Status, error) {
	var info siginfo
	for {
		_, _, e := unix.Syscall6(unix.SYS_WAITID, unix.P_PIDFD, f.Fd(), uintptr(unsafe.Pointer(&info)),
			unix.WEXITED|unix.WALL, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return Status{}, os.NewSyscallError("waitid", e)
		}
		break
	}
	if info.code == cldExited {
		return Status{Code: int(info.status)}, nil
	}
	return Status{Signal: unix.Signal(info.status), Core: info.code == cldDumped}, nil
}
