package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	remotecommandserver "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"go.skiff.dev/skiff/internal/supervisor"
)

const (
	// maxExecOutput bounds what ExecSync keeps of each stream; the rest is read
	// and dropped, so that the process is not held up. Both fit into one answer.
	maxExecOutput = maxMessage/2 - 4096
	// drainTime is how long ExecSync waits, after the process has ended, for
	// another process that it left behind with its pipes open.
	drainTime = 2 * time.Second
)

// execProcess is what an exec runs as: the container's user, environment,
// capabilities and system call filter.
func (s *Service) execProcess(c *ctr, cmd []string, tty bool) (*specs.Process, error) {
	rec := c.rec.Load()
	if len(cmd) == 0 {
		return nil, invalid("exec needs a command")
	}
	if rec.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, status.Errorf(codes.FailedPrecondition, "container %q is not running (%s)", rec.ID, rec.State)
	}
	b, err := s.findSandbox(rec.SandboxID)
	if err != nil {
		return nil, err
	}
	img, err := s.deps.Images.Resolve(rec.ImageID)
	if err != nil {
		return nil, err
	}
	in := s.specInput(rec, b.rec.Load(), img)
	sc := rec.Config.GetLinux().GetSecurityContext()
	have, err := capabilities(sc)
	if err != nil {
		return nil, err
	}
	score := int(rec.Config.GetLinux().GetResources().GetOomScoreAdj())
	p := &specs.Process{
		Terminal: tty, Args: cmd, Env: environment(in), Cwd: workingDir(rec.Config, img.Config),
		User:         specs.User{UID: rec.User.UID, GID: rec.User.GID, AdditionalGids: rec.User.Groups},
		Capabilities: have, NoNewPrivileges: sc.GetNoNewPrivs(), OOMScoreAdj: &score,
	}
	if tty && !rec.Config.GetTty() {
		p.Env = append(p.Env, "TERM=xterm")
	}
	return p, nil
}

// ExecSync runs a command to its end, or until the time-out in seconds.
func (s *Service) ExecSync(ctx context.Context, req *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	c, err := s.findContainer(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	process, err := s.execProcess(c, req.GetCmd(), false)
	if err != nil {
		return nil, err
	}
	if t := req.GetTimeout(); t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout(t))
		defer cancel()
	}
	stdout, stderr := newCapture(), newCapture()
	exit, err := s.runExec(ctx, c, process, nil, stdout, stderr)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, status.Errorf(codes.DeadlineExceeded, "command %q timed out: timeout %ds exceeded", req.GetCmd(), req.GetTimeout())
	}
	if err != nil {
		return nil, statusOf(err, "executing %q in container %q", req.GetCmd(), req.GetContainerId())
	}
	return &runtimeapi.ExecSyncResponse{Stdout: stdout.data, Stderr: stderr.data, ExitCode: int32(exit.Code)}, nil
}

// capture keeps the beginning of what is written to it.
type capture struct{ data []byte }

func newCapture() *capture { return &capture{} }

func (c *capture) Write(p []byte) (int, error) {
	c.data = append(c.data, p[:min(len(p), maxExecOutput-len(c.data))]...)
	return len(p), nil
}

// runExec runs a process on pipes. It ends with the process; when ctx ends
// first the process is killed.
func (s *Service) runExec(ctx context.Context, c *ctr, process *specs.Process, in io.Reader, out, errw io.Writer) (supervisor.Exit, error) {
	var theirs [3]*os.File
	var mine [3]*os.File
	defer func() {
		for i := range theirs {
			closeFile(theirs[i])
			closeFile(mine[i])
		}
	}()
	for i, wanted := range [3]bool{in != nil, out != nil, errw != nil} {
		if !wanted {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return supervisor.Exit{}, fmt.Errorf("making a pipe: %w", err)
		}
		theirs[i], mine[i] = w, r
		if i == 0 {
			theirs[i], mine[i] = r, w
		}
	}
	p, err := s.sup.Exec(ctx, supervisor.ExecRequest{ID: c.rec.Load().ID, Process: process, KillOnClose: true}, theirs)
	if err != nil {
		return supervisor.Exit{}, err
	}
	for i := range theirs {
		closeFile(theirs[i])
		theirs[i] = nil
	}
	if in != nil {
		stdin := mine[0]
		mine[0] = nil // closed by the copier
		go func() { _, _ = io.Copy(stdin, in); stdin.Close() }()
	}
	copied := copyOutputs(mine, out, errw)
	exit, err := p.Wait(ctx)
	deadline := time.Now().Add(drainTime)
	if err != nil {
		deadline = time.Now()
	}
	for _, f := range mine[1:] {
		if f != nil {
			_ = f.SetReadDeadline(deadline)
		}
	}
	copied()
	return exit, err
}

// copyOutputs copies both outputs; the returned function waits for their end.
func copyOutputs(mine [3]*os.File, out, errw io.Writer) func() {
	done := make(chan struct{}, 2)
	n := 0
	for i, w := range []io.Writer{out, errw} {
		if f := mine[i+1]; f != nil {
			n++
			go func() { _, _ = io.Copy(w, f); done <- struct{}{} }()
		}
	}
	return func() {
		for range n {
			<-done
		}
	}
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}

// resizing applies the sizes of a terminal until ctx ends.
func resizing(ctx context.Context, sizes <-chan remotecommandserver.TerminalSize, apply func(width, height uint16)) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			if size.Width > 0 && size.Height > 0 {
				apply(size.Width, size.Height)
			}
		case <-ctx.Done():
			return
		}
	}
}
