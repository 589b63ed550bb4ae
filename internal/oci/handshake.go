package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// handshake is the parent's part of the talk with init, up to "ready".
type handshake struct {
	wire          *wire
	child         *child
	proc          *Process
	warn          func(string)
	sync          func() error
	consoleSocket string
}

func (h *handshake) run() error {
	for {
		kind, body, file, err := h.wire.receive()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return context.Canceled
			}
			return h.child.died()
		}
		switch kind {
		case msgReady:
			return nil
		case msgError:
			return errors.New(string(body))
		case msgWarning:
			h.warn(string(body))
		case msgConsole:
			if err := h.console(file); err != nil {
				return err
			}
		case msgSync:
			if err := h.sync(); err != nil {
				return err
			}
			if err := h.wire.send(msgGo, nil); err != nil {
				return h.child.died()
			}
		}
	}
}

// console keeps the pty master, or sends it to the console socket as runc does: one message with the descriptor, whose
// text is the terminal's name.
func (h *handshake) console(master *os.File) error {
	if h.consoleSocket == "" {
		h.proc.Console = master
		return nil
	}
	defer master.Close()
	if err := handOver(h.consoleSocket, []byte("/dev/ptmx"), master); err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	return nil
}

// handOver connects to the stream socket at path and sends one message with a descriptor. The calls are the kernel's
// own: package net takes its time to start, and init, which is this program too, would pay for it in each container.
func handOver(path string, msg []byte, f *os.File) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	dir, name := filepath.Split(filepath.Clean(path))
	err = withShortPath(filepath.Clean(dir), name, func(addr *unix.SockaddrUnix) error { return unix.Connect(fd, addr) })
	if err != nil {
		return &os.PathError{Op: "connect", Path: path, Err: err}
	}
	for {
		n, err := unix.SendmsgN(fd, msg, unix.UnixRights(int(f.Fd())), nil, 0)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n < len(msg) {
			_, err = unix.Write(fd, msg[n:])
		}
		return os.NewSyscallError("sendmsg", err)
	}
}
