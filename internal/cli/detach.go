package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/daemon"
)

// detach starts the daemon as a session of its own, shows its progress, and
// returns when its node is Ready.
func (c *command) detach(ctx context.Context, cfg config.Config) error {
	logFile, err := openLog(cfg)
	if err != nil {
		return err
	}
	defer logFile.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe for the progress: %w", err)
	}
	defer reader.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return errors.Join(err, writer.Close())
	}
	defer null.Close()
	args := append([]string{c.args[0]}, withoutDetach(c.args[1:])...)
	args = append(args, "--progress-fd=3")
	process, err := os.StartProcess("/proc/self/exe", args, &os.ProcAttr{
		Env:   os.Environ(),
		Files: []*os.File{null, logFile, logFile, writer},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err := errors.Join(err, writer.Close()); err != nil {
		return fmt.Errorf("starting the daemon: %w", err)
	}
	return c.follow(ctx, process, reader, logFile.Name())
}

// withoutDetach makes the foreground form of an `up --detach` command line. The
// daemon starts in the caller's directory, reads relative paths there, and
// leaves it then.
func withoutDetach(args []string) []string {
	var out []string
	for _, a := range args {
		if a == "--detach" || a == "-d" || a == "--detach=true" {
			continue
		}
		out = append(out, a)
	}
	return out
}

// follow shows the daemon's progress until it is Ready or has ended.
func (c *command) follow(ctx context.Context, process *os.Process, progress io.Reader, log string) error {
	stop := context.AfterFunc(ctx, func() { _ = process.Signal(syscall.SIGTERM) })
	defer stop()
	lines := bufio.NewScanner(progress)
	failed := false
	for lines.Scan() {
		var p daemon.Progress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return fmt.Errorf("reading the daemon's progress: %w", err)
		}
		c.printProgress(p)
		if p.Ready {
			return process.Release()
		}
		failed = failed || p.Error != ""
	}
	state, err := process.Wait()
	if err != nil {
		return fmt.Errorf("waiting for the daemon: %w", err)
	}
	if !failed {
		return fmt.Errorf("the daemon ended before the node was Ready (%s); its log is %s", state, log)
	}
	return exitError(exitFailure)
}

// openLog opens the daemon's log; the log of the run before is kept as .1.
func openLog(cfg config.Config) (*os.File, error) {
	name := filepath.Join(cfg.DataDir, "skiff.log")
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	if err := os.Rename(name, name+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("keeping the last log: %w", err)
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	return file, nil
}

// writeProgress writes progress as JSON lines for the process that waits.
func writeProgress(w io.Writer) func(daemon.Progress) {
	return func(p daemon.Progress) {
		// Nobody may be waiting any more; the daemon goes on all the same.
		_ = json.NewEncoder(w).Encode(p)
	}
}
