package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// consoleTime is how long a runtime may take to send its terminal after it said
// that the process is there.
const consoleTime = 10 * time.Second

// consoleSocket is where a runtime sends the master of a terminal (--console-socket).
type consoleSocket struct {
	fd  int
	dir string
	// path is short: a socket's address holds 107 bytes.
	path string
}

func listenConsole() (*consoleSocket, error) {
	dir, err := os.MkdirTemp("", "skiff-tty-")
	if err != nil {
		return nil, fmt.Errorf("making a terminal's socket: %w", err)
	}
	c := &consoleSocket{fd: -1, dir: dir, path: filepath.Join(dir, "s")}
	if c.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
		err = unix.Bind(c.fd, &unix.SockaddrUnix{Name: c.path})
	}
	if err == nil {
		err = unix.Listen(c.fd, 1)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("making a terminal's socket: %w", err)
	}
	return c, nil
}

func (c *consoleSocket) close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
	}
	os.RemoveAll(c.dir)
}

// receive takes the terminal's master.
func (c *consoleSocket) receive(patience time.Duration) (*os.File, error) {
	end := time.Now().Add(patience)
	peer, err := until(c.fd, end, func() (int, error) {
		peer, _, err := unix.Accept4(c.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return peer, os.NewSyscallError("accept", err)
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(peer)
	oob := make([]byte, unix.CmsgSpace(maxFDs*4))
	n, err := until(peer, end, func() (int, error) {
		_, n, _, _, err := unix.Recvmsg(peer, make([]byte, 4096), oob, unix.MSG_CMSG_CLOEXEC)
		return n, os.NewSyscallError("recvmsg", err)
	})
	if err != nil {
		return nil, err
	}
	files, err := parseRights(oob[:n])
	if err != nil || len(files) == 0 {
		return nil, errNoTerminal
	}
	closeFiles(files[1:])
	// The poller of the Go runtime reads it, as it does our own terminals.
	return pollable(files[0]), nil
}

var errNoTerminal = errors.New("the runtime sent no terminal")

// until calls f, which does not block, when fd has something to read, and again when it was interrupted.
func until(fd int, end time.Time, f func() (int, error)) (int, error) {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(time.Until(end).Milliseconds())))
		switch {
		case n == 0 && err == nil:
			return -1, errNoTerminal
		case err == nil:
			n, err = f()
		}
		if !again(err) {
			return n, err
		}
	}
}
