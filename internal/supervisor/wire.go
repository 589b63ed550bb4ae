package supervisor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxFrame bounds a frame's body. A specification with a large seccomp
	// profile has some 100 KiB.
	maxFrame = 8 << 20
	// maxFDs bounds the descriptors of one frame.
	maxFDs = 8
)

// conn is one end of a stream socket that carries frames and descriptors. It
// uses os.File rather than package net, which would double the imports of the
// small program.
type conn struct {
	f   *os.File
	raw syscall.RawConn
}

// newConn takes over a non-blocking socket.
func newConn(fd int) (*conn, error) {
	f := os.NewFile(uintptr(fd), "supervisor connection")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &conn{f: f, raw: raw}, nil
}

func (c *conn) close() error { return c.f.Close() }

func (c *conn) setDeadline(t time.Time) { _ = c.f.SetDeadline(t) }

// send writes one frame; files travel with its first byte.
func (c *conn) send(v any, files ...*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding a message: %w", err)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a message of %d bytes is larger than the limit of %d", len(body), maxFrame)
	}
	frame := make([]byte, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	copy(frame[4:], body)
	n, err := c.sendFirst(frame, files)
	if err != nil {
		return fmt.Errorf("sending a message: %w", err)
	}
	if n < len(frame) {
		if _, err := c.f.Write(frame[n:]); err != nil {
			return fmt.Errorf("sending a message: %w", err)
		}
	}
	return nil
}

func (c *conn) sendFirst(frame []byte, files []*os.File) (n int, err error) {
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			raw, err := f.SyscallConn()
			if err != nil {
				return 0, err
			}
			// Control keeps the descriptor open only during the call; the
			// caller holds the file until send returns.
			if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
				return 0, err
			}
		}
		rights = unix.UnixRights(fds...)
	}
	werr := c.raw.Write(func(fd uintptr) bool {
		n, err = unix.SendmsgN(int(fd), frame, rights, nil, unix.MSG_NOSIGNAL)
		return !again(err)
	})
	if werr != nil {
		return 0, werr
	}
	return n, err
}

// awaitMessage returns when there is something to read, and leaves it there; size is that of the message's body, or 0 if
// its head is not there yet.
func (c *conn) awaitMessage() (size uint32, err error) {
	var head [4]byte
	n := 0
	rerr := c.raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), head[:], unix.MSG_PEEK)
		return !again(err)
	})
	if n == len(head) {
		size = binary.BigEndian.Uint32(head[:])
	}
	return size, errors.Join(rerr, err)
}

// recv reads one frame into v. The files that came with it belong to the caller.
func (c *conn) recv(v any) (files []*os.File, err error) {
	var head [4]byte
	n, files, err := c.recvFirst(head[:])
	defer func() {
		if err != nil {
			closeFiles(files)
			files = nil
		}
	}()
	if err != nil {
		return files, err
	}
	if _, err := io.ReadFull(c.f, head[n:]); err != nil {
		return files, fmt.Errorf("reading a message: %w", err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		return files, fmt.Errorf("a message of %d bytes is larger than the limit of %d", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.f, body); err != nil {
		return files, fmt.Errorf("reading a message: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return files, fmt.Errorf("decoding a message: %w", err)
	}
	return files, nil
}

func (c *conn) recvFirst(head []byte) (n int, files []*os.File, err error) {
	oob := make([]byte, unix.CmsgSpace(maxFDs*4))
	var oobn int
	rerr := c.raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, err = unix.Recvmsg(int(fd), head, oob, unix.MSG_CMSG_CLOEXEC)
		return !again(err)
	})
	if rerr != nil {
		return 0, nil, fmt.Errorf("reading a message: %w", rerr)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("reading a message: %w", err)
	}
	files, err = parseRights(oob[:oobn])
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, files, err
}

func parseRights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("reading descriptors: %w", err)
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // another kind of control message
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed descriptor"))
		}
	}
	return files, nil
}

func again(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// hangup returns a channel that is closed when the peer has left, or the
// connection is closed here.
func (c *conn) hangup() <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var b [1]byte
		for {
			if n, err := c.f.Read(b[:]); n == 0 || err != nil {
				return
			}
		}
	}()
	return gone
}
