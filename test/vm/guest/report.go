package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/vm/plan"
)

// report is the serial line to the host.
type report struct {
	mu   sync.Mutex
	line *os.File
}

// openReport opens the second serial line, raw: what is written is what the
// host reads.
func openReport() (*report, error) {
	line, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	mode, err := unix.IoctlGetTermios(int(line.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("reading the serial line's mode: %w", err)
	}
	mode.Oflag &^= unix.OPOST
	mode.Lflag &^= unix.ECHO | unix.ICANON
	if err := unix.IoctlSetTermios(int(line.Fd()), unix.TCSETS, mode); err != nil {
		return nil, fmt.Errorf("setting the serial line's mode: %w", err)
	}
	return &report{line: line}, nil
}

// Write passes on the output of a step.
func (r *report) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.line.Write(b)
}

func (r *report) tell(e plan.Event) {
	text, err := json.Marshal(e)
	if err == nil {
		_, err = fmt.Fprintf(r, "%s%s\n", plan.Mark, text)
	}
	if err != nil {
		fmt.Println("telling the host:", err)
	}
}

// describe tells what machine this is.
func (r *report) describe() {
	for _, file := range []string{"/proc/version", "/sys/fs/cgroup/cgroup.controllers"} {
		text, err := os.ReadFile(file)
		if err != nil {
			text = []byte(err.Error())
		}
		r.tell(plan.Event{Note: file + ": " + strings.TrimSpace(string(text))})
	}
	up, err := os.ReadFile("/proc/uptime")
	r.tell(plan.Event{Note: fmt.Sprintf("up for %s seconds (%v)", strings.Fields(string(up) + " ?")[0], err)})
}

// run runs one step to its end.
func (r *report) run(s plan.Step) {
	r.tell(plan.Event{Begin: s.Name})
	began := time.Now()
	code := r.execute(s)
	r.tell(plan.Event{End: s.Name, Code: code, Took: time.Since(began)})
}

// execute returns the exit code, or 128 and the signal's number as a shell does.
func (r *report) execute(s plan.Step) int {
	if err := loadModules(s.Modules); err != nil {
		fmt.Fprintln(r, err)
		return 127
	}
	cmd := command(s)
	cmd.Stdout, cmd.Stderr = r, r
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(r, "starting %s: %v\n", s.Name, err)
		return 127
	}
	// A test binary's own -test.timeout comes first and tells where it hangs.
	limit := time.AfterFunc(s.Limit, func() {
		fmt.Fprintf(r, "the step is over its limit of %s\n", s.Limit)
		_ = cmd.Process.Kill()
	})
	defer limit.Stop()
	err := cmd.Wait()
	var failed *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0
	case errors.As(err, &failed) && failed.ExitCode() < 0:
		return 128 + int(failed.Sys().(interface{ Signal() unix.Signal }).Signal())
	case errors.As(err, &failed):
		return failed.ExitCode()
	default:
		fmt.Fprintf(r, "waiting for %s: %v\n", s.Name, err)
		return 126
	}
}
