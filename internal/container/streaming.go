package container

import (
	"context"
	"fmt"
	"io"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	remotecommandserver "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"go.skiff.dev/skiff/internal/supervisor"
)

// Streaming serves exec, attach and port forwarding by streams.
func (s *Service) Streaming() streaming.Runtime { return streams{s} }

// streams is the Service as package streaming wants it.
type streams struct{ s *Service }

// exitError tells the stream server the exit code of a command; it has the
// methods of k8s.io/utils/exec.ExitError.
type exitError struct{ code int }

func (e exitError) Error() string   { return fmt.Sprintf("command terminated with exit code %d", e.code) }
func (e exitError) String() string  { return e.Error() }
func (e exitError) Exited() bool    { return true }
func (e exitError) ExitStatus() int { return e.code }

// Exec runs a command with the caller's streams until it ends.
func (t streams) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommandserver.TerminalSize) error {
	c, err := t.s.findContainer(id)
	if err != nil {
		return err
	}
	process, err := t.s.execProcess(c, cmd, tty)
	if err != nil {
		return err
	}
	var exit supervisor.Exit
	if tty {
		exit, err = t.s.execTerminal(ctx, c, process, in, out, resize)
	} else {
		exit, err = t.s.runExec(ctx, c, process, in, orNil(out), orNil(errw))
	}
	if err != nil {
		return statusOf(err, "executing %q in container %q", cmd, id)
	}
	if exit.Code != 0 {
		return exitError{exit.Code}
	}
	return nil
}

// orNil keeps a nil WriteCloser a nil Writer.
func orNil(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

// execTerminal runs a command on a terminal, whose master comes from the
// supervisor: the bytes go straight between it and the caller.
func (s *Service) execTerminal(ctx context.Context, c *ctr, process *specs.Process, in io.Reader, out io.WriteCloser, resize <-chan remotecommandserver.TerminalSize) (supervisor.Exit, error) {
	// The first size is mostly there before the process is: start with it.
	select {
	case size := <-resize:
		if size.Width > 0 && size.Height > 0 {
			process.ConsoleSize = &specs.Box{Width: uint(size.Width), Height: uint(size.Height)}
		}
	default:
	}
	p, err := s.sup.Exec(ctx, supervisor.ExecRequest{ID: c.rec.Load().ID, Process: process, KillOnClose: true}, [3]*os.File{})
	if err != nil {
		return supervisor.Exit{}, err
	}
	defer closeFile(p.Console)
	if p.Console == nil {
		p.Close()
		return supervisor.Exit{}, fmt.Errorf("the process got no terminal")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go resizing(ctx, resize, func(width, height uint16) { resizeConsole(p.Console, width, height) })
	if in != nil {
		go func() { _, _ = io.Copy(p.Console, in) }()
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		if out != nil {
			_, _ = io.Copy(out, p.Console) // ends with EIO when the last process has closed it
		}
	}()
	exit, err := p.Wait(ctx)
	_ = p.Console.SetReadDeadline(drainDeadline(err))
	<-copied
	return exit, err
}

func resizeConsole(console *os.File, width, height uint16) {
	raw, err := console.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height})
	})
}

// Attach connects the caller's streams to the container's until it ends, or
// the caller's input does and it wants no output.
func (t streams) Attach(ctx context.Context, id string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommandserver.TerminalSize) error {
	c, err := t.s.findContainer(id)
	if err != nil {
		return err
	}
	rec := c.rec.Load()
	if rec.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return status.Errorf(codes.FailedPrecondition, "container %q is not running (%s)", rec.ID, rec.State)
	}
	a, err := t.s.sup.Attach(ctx, supervisor.AttachRequest{ID: rec.ID, Stdin: in != nil, Stdout: out != nil, Stderr: errw != nil && !tty})
	if err != nil {
		return statusOf(err, "attaching to container %q", id)
	}
	defer a.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { a.Close() })
	defer stop()
	go resizing(ctx, resize, func(width, height uint16) { _ = t.s.sup.Resize(ctx, rec.ID, width, height) })
	input := make(chan struct{})
	if in != nil && a.Stdin != nil {
		go func() {
			defer close(input)
			_, _ = io.Copy(a.Stdin, in)
			if rec.Config.GetStdinOnce() && !tty {
				_ = t.s.sup.CloseStdin(ctx, rec.ID)
			}
			a.Stdin.Close()
		}()
	}
	wait := copyOutputs([3]*os.File{nil, a.Stdout, a.Stderr}, orNil(out), orNil(errw))
	if a.Stdout == nil && a.Stderr == nil {
		select {
		case <-input:
		case <-c.exited:
		case <-ctx.Done():
		}
		return nil
	}
	wait()
	return nil
}
