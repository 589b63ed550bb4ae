package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a process begun by Exec.
type Process struct {
	PID int
	// Console is the master of its terminal, if it has one; the caller closes it.
	Console *os.File
	conn    *conn
}

// Exec runs one more process in a container. The process gets stdio (nil
// entries: /dev/null), unless it has a terminal, whose master end is then in
// Process.Console. The caller keeps its own copies of stdio.
func (c *Client) Exec(ctx context.Context, req ExecRequest, stdio [3]*os.File) (*Process, error) {
	message := request{Op: "exec", ID: req.ID, Exec: &req}
	var files []*os.File
	for i, f := range stdio {
		if f == nil {
			continue
		}
		message.Stdio[i] = true
		files = append(files, f)
		// A program does not expect EAGAIN; os.Pipe makes ends that say so.
		if err := setBlocking(f); err != nil {
			return nil, fmt.Errorf("passing standard files: %w", err)
		}
	}
	k, r, got, err := c.open(ctx, message, files...)
	if err != nil {
		return nil, err
	}
	p := &Process{PID: r.PID, conn: k}
	if len(got) > 0 {
		p.Console = pollable(got[0])
		closeFiles(got[1:])
	}
	return p, nil
}

func setBlocking(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) { serr = unix.SetNonblock(int(fd), false) }); err != nil {
		return err
	}
	return serr
}

// Wait returns the process's end, or when ctx does. It closes the connection:
// a process begun with KillOnClose does not outlive it.
func (p *Process) Wait(ctx context.Context) (Exit, error) {
	defer p.conn.close()
	stop := context.AfterFunc(ctx, func() { p.conn.setDeadline(time.Unix(1, 0)) })
	defer stop()
	var r response
	files, err := p.conn.recv(&r)
	closeFiles(files)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return Exit{}, fmt.Errorf("waiting for process %d: %w", p.PID, err)
	}
	if r.Exit == nil {
		return Exit{}, errors.Join(ErrGone, fromWire(r.Error))
	}
	return *r.Exit, nil
}

// Close gives the process up: with KillOnClose it is killed.
func (p *Process) Close() error { return p.conn.close() }

// Attach connects to the streams of a container.
func (c *Client) Attach(ctx context.Context, req AttachRequest) (*Attachment, error) {
	a := &Attachment{}
	var theirs []*os.File
	defer func() { closeFiles(theirs) }()
	for _, out := range []struct {
		wanted bool
		mine   **os.File
	}{{req.Stdout, &a.Stdout}, {req.Stderr, &a.Stderr}} {
		if !out.wanted {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("attaching to container %q: %w", req.ID, err)
		}
		*out.mine = r
		theirs = append(theirs, w)
	}
	k, r, got, err := c.open(ctx, request{Op: "attach", ID: req.ID, Attach: &req}, theirs...)
	if err != nil {
		a.Close()
		return nil, err
	}
	a.Terminal = r.Terminal
	if len(got) > 0 {
		a.Stdin = pollable(got[0])
		closeFiles(got[1:])
	}
	a.release = k.close
	return a, nil
}

// Close leaves the container's streams.
func (a *Attachment) Close() error {
	closeFiles([]*os.File{a.Stdin, a.Stdout, a.Stderr})
	if a.release != nil {
		return a.release()
	}
	return nil
}

// pollable makes reads and writes of a passed descriptor interruptible.
func pollable(f *os.File) *os.File {
	dup, err := duplicate(f)
	if err != nil {
		return f
	}
	f.Close()
	fd, err := detach(dup)
	if err != nil {
		return f
	}
	return os.NewFile(uintptr(fd), f.Name())
}

// Events calls handle for the present state of each container and then for each
// change, until ctx ends; it reconnects, and starts a new supervisor, as
// needed, each time with a new initial list. A newer stream ends an older one
// of another client, which then returns ErrReplaced.
func (c *Client) Events(ctx context.Context, handle func(Event)) error {
	for delay := 5 * time.Millisecond; ; {
		began := time.Now()
		err := c.follow(ctx, handle)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrReplaced) {
			return err
		}
		if time.Since(began) > time.Second {
			delay = 5 * time.Millisecond
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
		delay = min(2*delay, time.Second)
		if _, err := Connect(ctx, c.opts); err != nil && delay == time.Second {
			return err
		}
	}
}

// ErrReplaced says that another client took over the event stream.
var ErrReplaced = errors.New("another client follows the events")

// follow reads one stream to its end.
func (c *Client) follow(ctx context.Context, handle func(Event)) error {
	k, r, files, err := c.open(ctx, request{Op: "events"})
	closeFiles(files)
	if err != nil {
		return err
	}
	defer k.close()
	stop := context.AfterFunc(ctx, func() { k.setDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		if r.Error != nil {
			return fromWire(r.Error)
		}
		if r.Event != nil {
			if r.Event.Replaced {
				return ErrReplaced
			}
			handle(*r.Event)
		}
		r = response{}
		files, err := k.recv(&r)
		closeFiles(files)
		if err != nil {
			return err
		}
	}
}

// isRefused tells that nobody listens.
func isRefused(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}
