package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// conn is a connection to a bus on which systemd is, or to systemd itself. The calls are the kernel's own: package net
// takes its time to start, and a container's init, which is this program too, would pay for it.
type conn struct {
	fd     int
	serial uint32
	in     []byte // received and not yet read
	jobs   map[string]string
	until  time.Time // of the request that is under way
}

// Error is an answer that refuses.
type Error struct{ Name, Message string }

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message
}

// bus names itself on it.
const (
	busName  = "org.freedesktop.DBus"
	busPath  = "/org/freedesktop/DBus"
	jobEnded = "JobRemoved"
)

// dial connects to the bus, or where none is there to systemd's own socket, which is for the same user alone.
func dial(user bool) (*conn, error) {
	address, private, err := addresses(user)
	if err != nil {
		return nil, err
	}
	c, err := open(address)
	if err == nil {
		return c, c.greet()
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		if c, e := open(&unix.SockaddrUnix{Name: private}); e == nil {
			return c, nil
		}
	}
	return nil, err
}

// open connects and authenticates.
func open(to *unix.SockaddrUnix) (*conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	c := &conn{fd: fd, jobs: map[string]string{}, until: time.Now().Add(patience)}
	if err = unix.Connect(fd, to); err != nil {
		err = &os.PathError{Op: "connect", Path: to.Name, Err: err}
	} else if err = unix.SetNonblock(fd, true); err == nil {
		err = c.authenticate()
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return c, nil
}

func (c *conn) close() error { return unix.Close(c.fd) }

// authenticate says that we are who the kernel says we are. A name is not given: in a user namespace the number of the
// caller is not what the other side knows it as.
func (c *conn) authenticate() error {
	if err := c.write([]byte("\x00AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")); err != nil {
		return err
	}
	for {
		end := bytes.Index(c.in, []byte("\r\n"))
		if end < 0 {
			if len(c.in) > maxMessage {
				return errors.New("authenticating: an answer without an end")
			}
			if err := c.fill(len(c.in) + 1); err != nil {
				return fmt.Errorf("authenticating: %w", err)
			}
			continue
		}
		line := string(c.in[:end])
		c.in = c.in[end+2:]
		switch word, _, _ := strings.Cut(line, " "); word {
		case "OK":
			return nil
		case "DATA":
		default:
			return fmt.Errorf("authenticating: the answer is %q", line)
		}
	}
}

// greet is what a bus wants to hear first, and has it tell of the ends of jobs. Only the last answer is waited for, as a
// refusal of any is.
func (c *conn) greet() error {
	_, err := c.call(
		message{kind: kindCall, destination: busName, path: busPath, iface: busName, member: "Hello"},
		message{kind: kindCall, destination: busName, path: busPath, iface: busName, member: "AddMatch", signature: "s",
			body: match("type='signal',sender='" + service + "',path='" + path + "',interface='" + iface + "',member='" + jobEnded + "'")},
		message{kind: kindCall, destination: service, path: path, iface: iface, member: "Subscribe"},
	)
	if err != nil {
		c.close()
		return fmt.Errorf("subscribing: %w", err)
	}
	return nil
}

func match(rule string) []byte {
	var e encoder
	e.text(rule)
	return e.b
}

// call sends messages together and waits for the answer to the last one, or for one that refuses.
func (c *conn) call(messages ...message) (*message, error) {
	c.until = time.Now().Add(patience)
	var out []byte
	for i := range messages {
		c.serial++
		messages[i].serial = c.serial
		out = append(out, messages[i].encode()...)
	}
	if err := c.write(out); err != nil {
		return nil, err
	}
	for {
		m, err := c.receive()
		switch {
		case err != nil:
			return nil, err
		case m.kind == kindError:
			d := decoder{b: m.body}
			e := &Error{Name: m.errorName}
			if strings.HasPrefix(m.signature, "s") {
				e.Message = d.text()
			}
			return nil, e
		case m.kind == kindReply && m.replyTo == c.serial:
			return m, nil
		}
	}
}

// jobResult waits for the end of a job.
func (c *conn) jobResult(job string) (string, error) {
	for {
		if r, ok := c.jobs[job]; ok {
			return r, nil
		}
		if _, err := c.receive(); err != nil {
			return "", err
		}
	}
}

// receive returns the next message. It keeps what one says of a job: that can come before the name of the job.
func (c *conn) receive() (*message, error) {
	if err := c.fill(headerSize); err != nil {
		return nil, err
	}
	n, err := size(c.in)
	if err != nil {
		return nil, err
	}
	if err := c.fill(n); err != nil {
		return nil, err
	}
	m, err := decode(c.in[:n])
	c.in = c.in[n:]
	if err == nil && m.kind == kindSignal && m.iface == iface && m.member == jobEnded {
		d := decoder{b: m.body}
		d.uint32()
		job, _, result := d.text(), d.text(), d.text()
		if err = d.err; err == nil {
			c.jobs[job] = result
		}
	}
	return m, err
}

// fill reads until n bytes are there.
func (c *conn) fill(n int) error {
	buf := make([]byte, 4096)
	for len(c.in) < n {
		k, err := unix.Read(c.fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			err = c.wait(unix.POLLIN)
		case err == nil && k == 0:
			err = errors.New("systemd or the bus closed the connection")
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		c.in = append(c.in, buf[:max(k, 0)]...)
	}
	return nil
}

func (c *conn) write(b []byte) error {
	for len(b) > 0 {
		// No signal when the other side is gone: this may be a program that handles none.
		n, err := unix.SendmsgN(c.fd, b, nil, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EAGAIN) {
			err = c.wait(unix.POLLOUT)
			n = 0
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("sendmsg", err)
		}
		b = b[max(n, 0):]
	}
	return nil
}

func (c *conn) wait(events int16) error {
	left := time.Until(c.until)
	if left <= 0 {
		return fmt.Errorf("no answer within %s", patience)
	}
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: events}}, int(left/time.Millisecond)+1)
	if err == unix.EINTR {
		return nil
	}
	return os.NewSyscallError("poll", err)
}
