package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// initState is what the steps of init share.
type initState struct {
	*plan
	up     childWire
	conn   int   // accepted start connection, -1 before
	root   int   // O_PATH of the new root's mount
	proc   int   // procfs of the container's pid namespace, attached nowhere; -1: not opened yet
	devpts int   // devpts mount of the container; -1: none
	late   []int // mounts that become read-only when all is in place
	null   cover // null device
	empty  cover // empty tmpfs
}

// cover is a mount that hides paths: attached nowhere before its first use, then copied.
type cover struct {
	fd   int
	used bool
}

// step is one thing init does; the name goes into the error.
type step struct {
	name string
	do   func(*initState) error
}

// InitMain is the role "init" of skiff-oci: it turns itself into a container's process. args[0] is the descriptor of
// the socket to the parent, which brings all else. It does not return.
//
// One thread does everything: namespaces, credentials and seccomp belong to threads, and execve makes the calling one
// the process. So the caller's goroutine must be bound to its thread: by runtime.LockOSThread, or, which saves the
// thread that LockOSThread starts in a program's first use of it, by calling InitMain in an init function (package
// runtime: all of them run on the startup thread).
func InitMain(args []string) {
	hearAllSignals()
	// Nobody in a namespace that init enters may trace it or open its descriptors (CVE-2016-9962).
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		os.Exit(1)
	}
	s := &initState{conn: -1, proc: -1, devpts: -1}
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		os.Exit(1)
	}
	s.up = childWire(fd)
	// Whatever came along, a leaked descriptor of the caller included, stays out of hooks and of the container.
	if unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) != nil {
		os.Exit(1)
	}
	unix.Umask(0)
	err = s.run()
	kind := byte(msgError)
	if _, ok := errors.AsType[ExecveError](err); ok {
		kind = msgExecve
	}
	if s.conn >= 0 {
		_ = childWire(s.conn).send(kind, err.Error(), -1)
	} else {
		_ = s.up.send(kind, err.Error(), -1)
	}
	os.Exit(1)
}

// enterByTasks moves this thread into cgroups of version 1. The runtime's others stay behind, until execve ends them.
func enterByTasks(tasks []int) error {
	for _, fd := range tasks {
		if _, err := unix.Write(fd, []byte("0")); err != nil {
			return fmt.Errorf("entering the cgroups: %w", os.NewSyscallError("write", err))
		}
		unix.Close(fd)
	}
	return nil
}

// run only returns with an error. What goes wrong before the parent's last word is told after it: who ends with messages
// unread resets the socket, and its own word is lost.
func (s *initState) run() (err error) {
	if s.plan, err = s.up.plan(); err != nil {
		return err
	}
	before := enterByTasks(s.tasks)
	if err := s.up.await(); err != nil {
		return err
	}
	if before != nil {
		return before
	}
	steps := createSteps
	if s.exec {
		steps = execSteps
	}
	for _, st := range steps() {
		err := st.do(s)
		if _, ok := errors.AsType[ExecveError](err); ok {
			return err
		}
		if err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
	}
	return errors.New("execve returned without an error")
}

func (s *initState) warn(format string, args ...any) {
	_ = s.up.send(msgWarning, fmt.Sprintf(format, args...), -1)
}
