package oci

import (
	"errors"
	"os"
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
func (p *Process) Wait() (ExitStatus, error) { return ExitStatus{}, errNotThere }

// Close closes the descriptors.
func (p *Process) Close() error { return nil }

var errNotThere = errors.New("not there yet")
