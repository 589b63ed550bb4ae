package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/internal/kernel/pidfd"
)

// Status reads the state's one word live: a process that is gone or a zombie means stopped; a start socket that is
// still there means created.
func (c *Container) Status() (specs.ContainerState, error) {
	if c.Init == nil || c.Init.PIDFD == nil || !pidfd.Alive(c.Init.PIDFD) {
		return specs.StateStopped, nil
	}
	if c.rec.Creating {
		return specs.StateCreating, nil
	}
	if _, err := os.Lstat(filepath.Join(c.Dir, startSock)); err == nil {
		return specs.StateCreated, nil
	}
	if c.cg.Frozen() {
		return StatePaused, nil
	}
	return specs.StateRunning, nil
}

// State tells the state as the specification defines it, read live from the kernel.
func (c *Container) State() (State, error) {
	st, err := c.Status()
	if err != nil {
		return State{}, err
	}
	s := State{State: c.specState(st), Rootfs: c.rec.Rootfs, Created: c.rec.Created}
	s.Version = c.rec.Version
	s.Owner = strconv.Itoa(c.rec.Owner)
	if c.rec.Owner == 0 {
		s.Owner = "root"
	}
	return s, nil
}

func (c *Container) specState(st specs.ContainerState) specs.State {
	s := specs.State{Version: specs.Version, ID: c.ID, Status: st, Bundle: c.rec.Bundle, Annotations: c.rec.Annotations}
	if st != specs.StateStopped {
		s.Pid = c.rec.PID
	}
	return s
}

// hookState is what hooks read on their standard input.
func (c *Container) hookState(st specs.ContainerState) []byte {
	b, _ := json.Marshal(c.specState(st))
	return b
}

// Kill sends sig to init, or with all to every process of the container's cgroup.
func (c *Container) Kill(sig unix.Signal, all bool) error {
	if all {
		return c.cg.Kill(sig)
	}
	if c.Init.PIDFD == nil || !pidfd.Alive(c.Init.PIDFD) {
		return fmt.Errorf("signalling container %q: container not running: %w", c.ID, ErrNotRunning)
	}
	if err := pidfd.Signal(c.Init.PIDFD, sig); err != nil {
		return fmt.Errorf("signalling container %q: %w", c.ID, err)
	}
	return nil
}

// Delete removes what Create made. Without force the container must be stopped; with force it is killed first.
func (c *Container) Delete(force bool) error {
	st, err := c.Status()
	if err != nil {
		return err
	}
	if st != specs.StateStopped && !force {
		return fmt.Errorf("cannot delete container %q that is not stopped: %s: %w", c.ID, st, ErrNotStopped)
	}
	hooks, err := c.hooks()
	if err != nil && !force {
		return err
	}
	// Processes without a pid namespace of their own outlive init, and a stopped cgroup must be empty to go.
	err = c.cg.Kill(unix.SIGKILL)
	if st != specs.StateStopped {
		err = errors.Join(err, pidfd.Signal(c.Init.PIDFD, unix.SIGKILL), waitGone(c.Init.PIDFD))
	}
	if e := c.cg.Destroy(); e != nil {
		return fmt.Errorf("deleting container %q: %w", c.ID, errors.Join(err, e))
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("deleting container %q: %w", c.ID, err)
	}
	return c.poststop(hooks)
}

// waitGone waits for the end of a killed process, which need not be our child.
func waitGone(f *os.File) error {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 10_000)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = unix.ETIMEDOUT
		}
		return err
	}
}
