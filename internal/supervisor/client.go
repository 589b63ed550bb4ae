package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Options say where the supervisor lives and how to start one.
type Options struct {
	// Socket is its address; Dir holds its records and its own log.
	Socket, Dir string
	// Exe opens the skiff-oci program (a sealed memfd or a file) for a start.
	Exe func() (*os.File, error)
	// Cgroup is where a supervisor that is started puts itself, so that who ends
	// all that is in skiff's own (a service manager, a limit) does not end the
	// parent of the containers. Empty: it stays where skiff is.
	Cgroup string
}

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("no such container")
	ErrExists   = errors.New("container exists")
	ErrState    = errors.New("container is not in the state for this")
	ErrBusy     = errors.New("containers are still running")
	// ErrGone says that the supervisor ended during the request.
	ErrGone = errors.New("supervisor has ended")
)

// Client talks to one supervisor. It holds no connection between calls and is
// safe for concurrent use.
type Client struct {
	opts     Options
	launched bool // Connect started the supervisor
}

// NewClient returns a client that never starts a supervisor.
func NewClient(opts Options) *Client { return &Client{opts: opts} }

// Create makes a container and, if asked, starts it. A failed create leaves nothing behind.
func (c *Client) Create(ctx context.Context, req CreateRequest) (Container, error) {
	spec, err := json.Marshal(req.Spec)
	if err != nil {
		return Container{}, fmt.Errorf("encoding the specification of container %q: %w", req.ID, err)
	}
	req.Spec = nil
	return c.one(ctx, request{Op: "create", ID: req.ID, Create: &createMessage{CreateRequest: req, Spec: spec}})
}

// Start runs the program of a created container.
func (c *Client) Start(ctx context.Context, id string) (Container, error) {
	return c.one(ctx, request{Op: "start", ID: id})
}

// Resize sets the size of the container's terminal.
func (c *Client) Resize(ctx context.Context, id string, width, height uint16) error {
	_, err := c.ask(ctx, request{Op: "resize", ID: id, Width: width, Height: height})
	return err
}

// CloseStdin ends the container's standard input once the attached clients have
// closed theirs.
func (c *Client) CloseStdin(ctx context.Context, id string) error {
	_, err := c.ask(ctx, request{Op: "closestdin", ID: id})
	return err
}

// Signal sends a signal to init, or to all processes of the container. A
// container that has exited is no error.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	_, err := c.ask(ctx, request{Op: "signal", ID: id, Signal: int(sig), All: all})
	return err
}

// Wait blocks until the container has exited.
func (c *Client) Wait(ctx context.Context, id string) (Exit, error) {
	r, err := c.ask(ctx, request{Op: "wait", ID: id})
	if err != nil {
		return Exit{}, err
	}
	return *r.Exit, nil
}

// Delete removes an exited container and its exit code; with force it is killed
// first. It is no error if there is none.
func (c *Client) Delete(ctx context.Context, id string, force bool) error {
	_, err := c.ask(ctx, request{Op: "delete", ID: id, Force: force})
	return err
}

// ReopenLog starts a new log file at the container's log path.
func (c *Client) ReopenLog(ctx context.Context, id string) error {
	_, err := c.ask(ctx, request{Op: "reopen", ID: id})
	return err
}

// Update changes the cgroup limits of a container.
func (c *Client) Update(ctx context.Context, id string, r *specs.LinuxResources) error {
	_, err := c.ask(ctx, request{Op: "update", ID: id, Limits: r})
	return err
}

// PIDs lists the processes of a container, in the host's pid namespace.
func (c *Client) PIDs(ctx context.Context, id string) ([]int, error) {
	r, err := c.ask(ctx, request{Op: "pids", ID: id})
	return r.PIDs, err
}

// List returns the state of every container.
func (c *Client) List(ctx context.Context) ([]Container, error) {
	r, err := c.ask(ctx, request{Op: "list"})
	return r.Containers, err
}

// Get returns the state of one container.
func (c *Client) Get(ctx context.Context, id string) (Container, error) {
	return c.one(ctx, request{Op: "get", ID: id})
}

// Info describes the supervisor.
func (c *Client) Info(ctx context.Context) (Info, error) {
	r, err := c.ask(ctx, request{Op: "info"})
	if err != nil {
		return Info{}, err
	}
	return *r.Info, nil
}

// Upgrade makes the supervisor execute exe in its own place, keeping its
// children. It returns when the successor answers.
func (c *Client) Upgrade(ctx context.Context, exe *os.File) error {
	_, err := c.ask(ctx, request{Op: "upgrade"}, exe)
	return err
}

// Shutdown ends the supervisor; it refuses while containers run, unless kill is
// set, which ends and deletes them all.
func (c *Client) Shutdown(ctx context.Context, kill bool) error {
	_, err := c.ask(ctx, request{Op: "shutdown", Force: kill})
	return err
}

func (c *Client) one(ctx context.Context, req request) (Container, error) {
	r, err := c.ask(ctx, req)
	if err != nil {
		return Container{}, err
	}
	return *r.Container, nil
}

// ask sends a request on a connection of its own and reads one answer. A
// request that may be repeated is, when the supervisor was replaced before it
// had read it.
func (c *Client) ask(ctx context.Context, req request, files ...*os.File) (response, error) {
	k, r, got, err := c.open(ctx, req, files...)
	for range maxRepeats {
		if !errors.Is(err, ErrGone) || !repeatable(req.Op) || ctx.Err() != nil {
			break
		}
		k, r, got, err = c.open(ctx, req, files...)
	}
	if err != nil {
		return r, err
	}
	closeFiles(got)
	return r, k.close()
}

// maxRepeats bounds how often a request is repeated.
const maxRepeats = 5

func repeatable(op string) bool {
	switch op {
	case "get", "list", "info", "wait", "pids", "signal", "delete", "reopen", "resize", "update":
		return true
	}
	return false
}

// open is ask, for requests whose connection lives on.
func (c *Client) open(ctx context.Context, req request, files ...*os.File) (*conn, response, []*os.File, error) {
	var r response
	k, err := c.dial()
	if isRefused(err) && c.opts.Exe != nil && req.Op != "info" && req.Op != "shutdown" {
		// The supervisor was killed: start the next, which knows the containers.
		if _, err = Connect(ctx, c.opts); err == nil {
			k, err = c.dial()
		}
	}
	if err != nil {
		return nil, r, nil, err
	}
	stop := context.AfterFunc(ctx, func() { k.setDeadline(time.Unix(1, 0)) })
	got, err := k.roundTrip(&req, &r, files)
	if !stop() || err != nil {
		closeFiles(got)
		k.close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, r, nil, fmt.Errorf("asking the supervisor to %s: %w", req.Op, err)
	}
	if err := fromWire(r.Error); err != nil {
		closeFiles(got)
		k.close()
		return nil, r, nil, err
	}
	return k, r, got, nil
}

func (c *conn) roundTrip(req *request, r *response, files []*os.File) ([]*os.File, error) {
	if err := c.send(req, files...); err != nil {
		return nil, err
	}
	got, err := c.recv(r)
	if err != nil {
		err = errors.Join(ErrGone, err)
	}
	return got, err
}

func (c *Client) dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket: %w", err)
	}
	// A unix socket connects at once, or says EAGAIN when the backlog is full.
	for delay := time.Millisecond; ; delay *= 2 {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: c.opts.Socket})
		if !again(err) || delay > time.Second {
			break
		}
		time.Sleep(delay) //nolint:forbidigo // nothing tells of room in a backlog
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("connecting to the supervisor at %q: %w", c.opts.Socket, err)
	}
	return newConn(fd)
}
