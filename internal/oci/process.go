package oci

import (
	"errors"
	"fmt"
	"os"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// Process is a process that Create or Exec made. Its parent is the caller.
type Process struct {
	PID     int      // in the caller's pid namespace
	PIDFD   *os.File // readable (poll) when the process has ended; nil after Load of a stopped container
	Console *os.File // pty master when the process has a terminal and no ConsoleSocket was named; the caller owns it
}

// ExitStatus is how a process ended.
type ExitStatus struct {
	Code   int // exit code, or 128+signal as shells tell it
	Signal int // 0 when it ended by itself
	Core   bool
}

// Wait reaps the process, a child of the caller, and says how it ended. It blocks a thread only from Linux's waitid;
// poll PIDFD first to wait without one.
func (p *Process) Wait() (ExitStatus, error) {
	st, err := pidfd.Wait(p.PIDFD)
	if err != nil {
		return ExitStatus{}, fmt.Errorf("waiting for process %d: %w", p.PID, err)
	}
	if st.Signal != 0 {
		return ExitStatus{Code: 128 + int(st.Signal), Signal: int(st.Signal), Core: st.Core}, nil
	}
	return ExitStatus{Code: st.Code}, nil
}

// Close closes the descriptors.
func (p *Process) Close() error {
	var errs []error
	for _, f := range []*os.File{p.PIDFD, p.Console} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
