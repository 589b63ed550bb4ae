// Package pidfd handles processes by descriptor (Linux 5.3), so that a recycled pid is never mistaken for the old one.
package pidfd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrGone says that the process is no longer there.
var ErrGone = errors.New("process is gone")

// Open opens pid. With a start time other than 0 it makes sure that pid is still the process that started then.
func Open(pid int, start uint64) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("opening process %d: pidfd_open: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if start == 0 {
		return f, nil
	}
	// The descriptor is open, so from here on the pid cannot be recycled unseen: a mismatch now is final.
	got, _, err := StartTime(pid)
	if err != nil || got != start {
		f.Close()
		return nil, ErrGone
	}
	return f, nil
}

// Signal sends sig to the process behind f.
func Signal(f *os.File, sig unix.Signal) error {
	err := unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0)
	if err == unix.ESRCH {
		return ErrGone
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// Alive tells whether the process has not ended yet. A zombie has ended.
func Alive(f *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n == 0
	}
}

// StartTime reads field 22 of /proc/PID/stat (clock ticks since boot) and the state letter, field 3.
func StartTime(pid int) (start uint64, state byte, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, ErrGone
	}
	// The second field is the command in parentheses and may itself hold any byte: count from the last one.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 || i+2 >= len(b) {
		return 0, 0, fmt.Errorf("reading /proc/%d/stat: no command field", pid)
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 20 {
		return 0, 0, fmt.Errorf("reading /proc/%d/stat: %d fields", pid, len(f))
	}
	start, err = strconv.ParseUint(string(f[19]), 10, 64)
	return start, f[0][0], err
}
