package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"go.skiff.dev/skiff/internal/kernel/thread"
)

// PortForward connects a stream to a port on the pod's own loopback address.
func (t streams) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	b, err := t.s.findSandbox(id)
	if err != nil {
		return err
	}
	rec := b.rec.Load()
	if !rec.Ready {
		return status.Errorf(codes.FailedPrecondition, "sandbox %q is not ready", id)
	}
	if port < 1 || port > 65535 {
		return invalid("port %d is outside 1-65535", port)
	}
	c, err := t.s.dialPod(ctx, rec, int(port))
	if err != nil {
		return statusOf(err, "connecting to port %d of sandbox %q", port, id)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	// The pod's answer may outlast the caller's request, not the other way round.
	go func() {
		_, _ = io.Copy(c, stream)
		if half, ok := c.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
	}()
	_, err = io.Copy(stream, c)
	stream.Close()
	if err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("forwarding port %d: %w", port, err)
	}
	return nil
}

// dialPod tries 127.0.0.1, then ::1.
func (s *Service) dialPod(ctx context.Context, rec *sandboxRecord, port int) (net.Conn, error) {
	var errs []error
	for _, address := range []unix.Sockaddr{
		&unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}},
		&unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}},
	} {
		c, err := s.dialIn(ctx, rec, address)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errs[0]
}

// dialIn makes a socket in the sandbox's network namespace. A socket belongs to
// the namespace of the thread that makes it for ever, so only that one call
// runs there.
func (s *Service) dialIn(ctx context.Context, rec *sandboxRecord, address unix.Sockaddr) (net.Conn, error) {
	family := unix.AF_INET
	if _, six := address.(*unix.SockaddrInet6); six {
		family = unix.AF_INET6
	}
	fd, err := s.socketIn(rec, family)
	if err != nil {
		return nil, err
	}
	// The file comes after the beginning of the connection: what is not connected at all counts as ready.
	begun := unix.Connect(fd, address)
	f := os.NewFile(uintptr(fd), "port forward")
	defer f.Close()
	if errors.Is(begun, unix.EINPROGRESS) {
		begun = connected(ctx, f)
	}
	if begun != nil {
		return nil, fmt.Errorf("connecting: %w", begun)
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return c, nil
}

// connected waits for a connection, without a thread: on loopback the answer mostly comes at once, but a program that
// accepts nothing lets the kernel wait for minutes once its backlog is full, and there may be many who ask.
func connected(ctx context.Context, f *os.File) error {
	if err := f.SetDeadline(time.Now().Add(dialTime)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var refused error
	// Write calls until it is decided: at once, and when the socket has something to say.
	err = raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		refused = err
		if err != nil {
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, refused)
}

// dialTime is how long a program may take to accept a connection, as other runtimes have it.
const dialTime = 30 * time.Second

func (s *Service) socketIn(rec *sandboxRecord, family int) (int, error) {
	if usesNode(netMode(rec.Config)) {
		return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	}
	netns, err := openNetns(rec.PID)
	if err != nil {
		return -1, err
	}
	defer netns.Close()
	return thread.Apart(func() (int, error) {
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			return -1, fmt.Errorf("entering the network namespace: %w", err)
		}
		return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	})
}
