package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/kernel/rootfd"
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
	if c.cg.Frozen() { // before it was started or after
		return StatePaused, nil
	}
	if _, err := os.Lstat(filepath.Join(c.Dir, startSock)); err == nil {
		return specs.StateCreated, nil
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

// Kill sends sig to init, or with all to every process of the container's cgroup. The end of init ends the others only
// in a pid namespace that is init's own; elsewhere SIGKILL goes to all of them, also to those that init left behind. Without
// a cgroup nobody knows the others.
func (c *Container) Kill(sig unix.Signal, all bool) error {
	if all || sig == unix.SIGKILL && c.rec.SharedPID {
		if len(c.cg.Dirs()) > 0 {
			return c.cg.Kill(sig)
		}
		if c.rec.SharedPID {
			c.warn("container " + c.ID + " has no cgroup: only its first process gets the signal")
		}
	}
	if c.Init.PIDFD == nil || !pidfd.Alive(c.Init.PIDFD) {
		return fmt.Errorf("signalling container %q: container not running: %w", c.ID, ErrNotRunning)
	}
	if err := pidfd.Signal(c.Init.PIDFD, sig); err != nil {
		return fmt.Errorf("signalling container %q: %w", c.ID, err)
	}
	if sig == unix.SIGKILL && c.cg.Frozen() { // version 1 lets nobody die who is frozen
		return c.cg.Thaw()
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
	if c.starter != nil {
		c.starter.f.Close()
	}
	// Processes without a pid namespace of their own outlive init, and a stopped cgroup must be empty to go.
	// Most have one, and its end was theirs.
	if st != specs.StateStopped || c.rec.SharedPID || c.rec.Unit != "" || !c.cg.DestroyEmpty() {
		err = c.cg.Kill(unix.SIGKILL)
		if st != specs.StateStopped {
			err = errors.Join(err, pidfd.Signal(c.Init.PIDFD, unix.SIGKILL), waitKilled(c.Init.PIDFD))
		}
		if e := c.stopUnit(); e != nil { // systemd may be gone, and its cgroups are directories like others
			c.warn(e.Error())
		}
		if e := c.cg.Destroy(); e != nil {
			return fmt.Errorf("deleting container %q: %w", c.ID, errors.Join(err, e))
		}
	}
	if err := rootfd.RemoveDir(c.Dir, cgroupLink, specFile, recordFile); err != nil {
		return fmt.Errorf("deleting container %q: %w", c.ID, err)
	}
	c.poststop(hooks)
	return nil
}

// WaitGone waits for the end of a process, which need not be a child, or of ctx.
func WaitGone(ctx context.Context, f *os.File) error {
	if f == nil {
		return nil
	}
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 100) // how soon the end of ctx is noticed
		if n > 0 {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// killTimeout bounds how long a killed process may take; one in an uninterruptible call takes as long as that does.
const killTimeout = 10 * time.Second

func waitKilled(f *os.File) error {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	return WaitGone(ctx, f)
}
