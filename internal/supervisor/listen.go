package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// listenUnix makes the socket, over the remains of a predecessor that died; the
// directory's lock says that there is no living one.
func listenUnix(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the socket's directory: %w", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		unix.Close(fd)
		return nil, fmt.Errorf("removing the old socket: %w", err)
	}
	// The mode is set before bind creates the file: at no instant is it wider.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("restricting the socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("binding %q: %w", path, err)
	}
	if err := unix.Listen(fd, 512); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening on %q: %w", path, err)
	}
	return os.NewFile(uintptr(fd), "supervisor socket"), nil
}

// serve accepts connections until the end.
func (s *server) serve() error {
	raw, err := s.listen.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var fd int
		var aerr error
		err := raw.Read(func(l uintptr) bool {
			// An upgrade hands on what is accepted, and leaves the rest in the backlog.
			s.life.RLock()
			defer s.life.RUnlock()
			if fd, _, aerr = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK); aerr == nil {
				s.accept(fd)
			}
			return !again(aerr)
		})
		select {
		case <-s.done:
			return nil
		default:
		}
		if err != nil {
			return fmt.Errorf("accepting a connection: %w", err)
		}
		if aerr != nil {
			// Out of descriptors or a client that left at once; the next accept
			// tells whether it lasts.
			s.log.Warn("connection not accepted", "err", aerr)
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // nothing tells of a free descriptor
		}
	}
}

func (s *server) accept(fd int) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || (cred.Uid != 0 && int(cred.Uid) != os.Geteuid()) {
		unix.Close(fd)
		return
	}
	select {
	case s.slots <- struct{}{}:
	default:
		unix.Close(fd)
		return
	}
	c, err := newConn(fd)
	if err != nil {
		<-s.slots
		return
	}
	s.mu.Lock()
	s.unread[c] = struct{}{}
	s.mu.Unlock()
	go func() {
		defer func() { <-s.slots }()
		defer c.close()
		s.handle(c)
	}()
}
