package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec" //nolint:depguard // the one program it starts is skiff-oci, its own
	"path/filepath"
	"syscall"
	"time"
)

// maxOwnLog is where a new supervisor starts a new file for its own log.
const maxOwnLog = 1 << 20

// Connect returns a client, starting a supervisor where none answers.
func Connect(ctx context.Context, opts Options) (*Client, error) {
	c := NewClient(opts)
	for {
		_, err := c.Info(ctx)
		if err == nil {
			return c, nil
		}
		if !isRefused(err) && !errors.Is(err, ErrGone) {
			return nil, err
		}
		if opts.Exe == nil {
			return nil, fmt.Errorf("no supervisor answers: %w", err)
		}
		err = launch(ctx, opts)
		if err != nil && !errors.Is(err, errAnother) {
			return nil, err
		}
		c.launched = err == nil
		if err != nil {
			// It is starting, or ending: both are a matter of milliseconds.
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return nil, fmt.Errorf("waiting for another supervisor to answer: %w", ctx.Err())
			}
		}
	}
}

// launch starts a supervisor that outlives the caller: a session of its own,
// no terminal, no descriptors but its log.
func launch(ctx context.Context, opts Options) error {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return fmt.Errorf("making the supervisor's directory: %w", err)
	}
	exe, err := opts.Exe()
	if err != nil {
		return fmt.Errorf("opening the supervisor's program: %w", err)
	}
	defer exe.Close()
	log, err := openOwnLog(filepath.Join(opts.Dir, "supervisor.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	defer ready.Close()
	args := []string{"skiff-oci", "supervisor", "--socket", opts.Socket, "--dir", opts.Dir, "--ready-fd", "4"}
	if opts.Cgroup != "" {
		args = append(args, "--cgroup", opts.Cgroup)
	}
	cmd := &exec.Cmd{
		// In the child, descriptor 3 is the program.
		Path:        "/proc/self/fd/3",
		Args:        args,
		Env:         []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Dir:         "/",
		Stdout:      log,
		Stderr:      log,
		ExtraFiles:  []*os.File{exe, theirs},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	return awaitReady(ctx, cmd, ready, log.Name())
}

// awaitReady returns when the supervisor listens or has failed to. As long as
// the caller lives it also reaps it.
func awaitReady(ctx context.Context, cmd *exec.Cmd, ready *os.File, log string) error {
	ended := make(chan struct{})
	var err error
	go func() {
		err = cmd.Wait()
		close(ended)
	}()
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b [1]byte
	if _, err := ready.Read(b[:]); err == nil {
		return nil
	}
	if ctx.Err() != nil { // who gives up may take back all that it made, and finds no supervisor before it listens
		_ = cmd.Process.Kill()
		<-ended
		return fmt.Errorf("waiting for the supervisor to start: %w", ctx.Err())
	}
	<-ended
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitAnother {
		return errAnother
	}
	return fmt.Errorf("starting the supervisor: it ended (%s); its log is %s", cmd.ProcessState, log)
}

func openOwnLog(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Size() > maxOwnLog {
		_ = os.Rename(path, path+".1")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the supervisor's log: %w", err)
	}
	return f, nil
}
