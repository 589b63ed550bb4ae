package supervisor

import (
	"context"
	"errors"
	"os"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Options say where the supervisor lives and how to start one.
type Options struct {
	// Socket is its address; Dir holds its records and its own log.
	Socket, Dir string
	// Exe opens the skiff-oci program (a sealed memfd or a file) for a start.
	Exe func() (*os.File, error)
}

// Errors that callers branch on.
var (
	ErrNotFound = errors.New("no such container")
	ErrExists   = errors.New("container exists")
	ErrState    = errors.New("container is not in the state for this")
	ErrNotYet   = errors.New("not there yet")
)

// Client talks to one supervisor. It holds no connection between calls and is
// safe for concurrent use.
type Client struct{ opts Options }

// Connect returns a client, starting a supervisor where none answers.
func Connect(ctx context.Context, opts Options) (*Client, error) { return nil, ErrNotYet }

// Create makes a container and, if asked, starts it. A failed create leaves nothing behind.
func (c *Client) Create(ctx context.Context, req CreateRequest) (Container, error) {
	return Container{}, ErrNotYet
}

// Start runs the program of a created container.
func (c *Client) Start(ctx context.Context, id string) (Container, error) {
	return Container{}, ErrNotYet
}

// Exec runs one more process in a container. The process gets stdio (nil
// entries: /dev/null), unless it has a terminal, whose master end is then in
// Process.Console. The caller keeps its own copies of stdio.
func (c *Client) Exec(ctx context.Context, req ExecRequest, stdio [3]*os.File) (*Process, error) {
	return nil, ErrNotYet
}

// Process is a process begun by Exec.
type Process struct {
	PID     int
	Console *os.File
}

// Wait returns the process's end. It must be called once; it closes the connection.
func (p *Process) Wait(ctx context.Context) (Exit, error) { return Exit{}, ErrNotYet }

// Close gives the process up: with KillOnClose it is killed.
func (p *Process) Close() error { return ErrNotYet }

// Attach connects to the streams of a container.
func (c *Client) Attach(ctx context.Context, req AttachRequest) (*Attachment, error) {
	return nil, ErrNotYet
}

// Close leaves the container's streams.
func (a *Attachment) Close() error { return ErrNotYet }

// Resize sets the size of the container's terminal.
func (c *Client) Resize(ctx context.Context, id string, width, height uint16) error { return ErrNotYet }

// Signal sends a signal to init, or to all processes of the container. A
// container that has exited is no error.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	return ErrNotYet
}

// Wait blocks until the container has exited.
func (c *Client) Wait(ctx context.Context, id string) (Exit, error) { return Exit{}, ErrNotYet }

// Delete removes an exited container and its exit code; with force it is killed
// first. It is no error if there is none.
func (c *Client) Delete(ctx context.Context, id string, force bool) error { return ErrNotYet }

// ReopenLog starts a new log file at the container's log path.
func (c *Client) ReopenLog(ctx context.Context, id string) error { return ErrNotYet }

// Update changes the cgroup limits of a container.
func (c *Client) Update(ctx context.Context, id string, r *specs.LinuxResources) error {
	return ErrNotYet
}

// PIDs lists the processes of a container, in the host's pid namespace.
func (c *Client) PIDs(ctx context.Context, id string) ([]int, error) { return nil, ErrNotYet }

// List returns the state of every container.
func (c *Client) List(ctx context.Context) ([]Container, error) { return nil, ErrNotYet }

// Get returns the state of one container.
func (c *Client) Get(ctx context.Context, id string) (Container, error) {
	return Container{}, ErrNotYet
}

// Events calls handle for the present state of each container and then for each
// change, until ctx ends; it reconnects, and starts a new supervisor, as
// needed, each time with a new initial list. A newer stream ends an older one
// of another client.
func (c *Client) Events(ctx context.Context, handle func(Event)) error { return ErrNotYet }

// Info describes the supervisor.
func (c *Client) Info(ctx context.Context) (Info, error) { return Info{}, ErrNotYet }

// Upgrade makes the supervisor execute exe in its own place, keeping its children.
func (c *Client) Upgrade(ctx context.Context, exe *os.File) error { return ErrNotYet }

// Shutdown ends the supervisor; it refuses while containers run, unless kill is
// set, which ends and deletes them all.
func (c *Client) Shutdown(ctx context.Context, kill bool) error { return ErrNotYet }
