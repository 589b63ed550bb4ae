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
func (c *consoleSocket) receive() (*os.File, error) {
	poll := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(poll, int(consoleTime.Milliseconds())); err != nil || n == 0 {
		return nil, errors.New("the runtime sent no terminal")
	}
	peer, _, err := unix.Accept4(c.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("accept", err)
	}
	defer unix.Close(peer)
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(peer, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) == 0 {
		return nil, errors.New("the runtime sent no terminal")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil, errors.New("the runtime sent no terminal")
	}
	// The poller of the Go runtime reads it, as it does our own terminals.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "console"), nil
}
