package oci

import (
	"context"
	"errors"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Start lets init execute the container's process. It returns when execve has happened, or with its error.
func (c *Container) Start(ctx context.Context) error {
	w, err := c.openStart()
	if err != nil {
		return fmt.Errorf("starting container %q: %w", c.ID, err)
	}
	defer w.f.Close()
	defer w.watch(ctx)()
	if err := c.awaitExecve(w, c.rec.PID, specs.StateCreated, c.warn); err != nil {
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

// openStart lets init go on.
func (c *Container) openStart() (*wire, error) {
	if w := c.starter; w != nil {
		if err := w.send(msgGo, nil); err != nil && !errors.Is(err, unix.EPIPE) { // a dead init may have left a word
			return nil, err
		}
		return w, nil
	}
	st, err := c.Status()
	if err != nil {
		return nil, err
	}
	if st != specs.StateCreated {
		return nil, fmt.Errorf("cannot start a container in the %s state: %w", st, ErrNotCreated)
	}
	return c.dialStart()
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
