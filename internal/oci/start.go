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
	st, err := c.Status()
	if err != nil {
		return err
	}
	if st != specs.StateCreated {
		return fmt.Errorf("starting container %q: cannot start a container in the %s state: %w", c.ID, st, ErrNotCreated)
	}
	w, err := c.dialStart()
	if err != nil {
		return fmt.Errorf("starting container %q: %w", c.ID, err)
	}
	defer w.f.Close()
	defer w.watch(ctx)()
	if err := c.awaitExecve(w, c.rec.PID, specs.StateCreated, c.warn); err != nil {
		return fmt.Errorf("starting container %q: %w", c.ID, err)
	}
	return c.started(ctx)
}

func (c *Container) started(ctx context.Context) error {
	if err := os.Remove(c.Dir + "/" + startSock); err != nil {
		return fmt.Errorf("starting container %q: %w", c.ID, err)
	}
	return c.poststart(ctx)
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
