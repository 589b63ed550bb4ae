package oci

import (
	"context"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Start lets init execute the container's process. It returns when execve has happened, or with its error.
func (c *Container) Start(ctx context.Context) error {
	if err := c.mayStart(); err != nil {
		return fmt.Errorf("starting container %q: %w", c.ID, err)
	}
	agent, err := c.dialAgent()
	if err != nil {
		return fmt.Errorf("starting container %q: %w", c.ID, err)
	}
	defer agent.Close()
	w, died, err := c.openStart()
	if err != nil {
		return fmt.Errorf("starting container %q: %w", c.ID, err)
	}
	defer w.f.Close()
	defer w.watch(ctx)()
	err = c.awaitExecve(w, agent, c.rec.PID, specs.StateCreated, c.warn)
	if died && err == nil || lost(err) {
		err = (&child{pidfd: c.Init.PIDFD}).died()
	}
	if err != nil {
		return fmt.Errorf("starting container %q: %w", c.ID, err)
	}
	if c.starter != nil {
		c.starter = nil
		return c.poststart(ctx)
	}
	if err := os.Remove(c.Dir + "/" + startSock); err != nil {
		return fmt.Errorf("starting container %q: %w", c.ID, err)
	}
	return c.poststart(ctx)
}

// openStart lets init go on. One that died may have left a word on the wire.
func (c *Container) openStart() (w *wire, died bool, err error) {
	if c.straight {
		c.straight = false
		return c.starter, false, nil
	}
	if c.starter != nil {
		err := c.starter.send(msgGo, nil)
		if err != nil && !lost(err) {
			return nil, false, err
		}
		return c.starter, err != nil, nil
	}
	w, err = c.dialStart()
	return w, false, err
}

func (c *Container) mayStart() error {
	if c.starter != nil { // who holds that has created it, and started nothing
		return nil
	}
	st, err := c.Status()
	if err == nil && st != specs.StateCreated {
		err = fmt.Errorf("cannot start a container in the %s state: %w", st, ErrNotCreated)
	}
	return err
}

func (c *Container) dialStart() (*wire, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = withShortPath(c.Dir, startSock, func(a *unix.SockaddrUnix) error {
		return os.NewSyscallError("connect", unix.Connect(fd, a))
	})
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &wire{os.NewFile(uintptr(fd), startSock)}, nil
}
