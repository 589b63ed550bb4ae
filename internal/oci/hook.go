package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/internal/kernel/pidfd"
)

// runHook runs one hook to its end, with the container's state on standard input. Its output goes into the error.
func runHook(ctx context.Context, h *hookPlan, state []byte) error {
	in, err := memfile("state", state)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := memfile("output", nil)
	if err != nil {
		return err
	}
	defer out.Close()
	args := h.args
	if len(args) == 0 {
		args = []string{h.path}
	}
	fd := -1
	_, err = syscall.ForkExec(h.path, args, &syscall.ProcAttr{Env: h.env,
		Files: []uintptr{in.Fd(), out.Fd(), out.Fd()}, Sys: &syscall.SysProcAttr{PidFD: &fd}})
	if err != nil {
		return fmt.Errorf("hook %q: %w", h.path, err)
	}
	p := os.NewFile(uintptr(fd), "hook")
	defer p.Close()
	timeout := waitHook(ctx, p, h.timeout)
	if timeout != nil {
		_ = pidfd.Signal(p, unix.SIGKILL) // it may have ended by itself
	}
	st, err := pidfd.Wait(p)
	switch {
	case timeout != nil:
		return fmt.Errorf("hook %q: %w", h.path, timeout)
	case err != nil:
		return fmt.Errorf("hook %q: %w", h.path, err)
	case st.Signal != 0:
		return fmt.Errorf("hook %q: killed by signal %d%s", h.path, int(st.Signal), output(out))
	case st.Code != 0:
		return fmt.Errorf("hook %q: exit status %d%s", h.path, st.Code, output(out))
	}
	return nil
}

func memfile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(content); err != nil {
		f.Close()
		return nil, err
	}
	_, err = f.Seek(0, 0)
	return f, err
}

func output(f *os.File) string {
	buf := make([]byte, 4096)
	n, _ := f.ReadAt(buf, 0)
	if s := strings.TrimSpace(string(buf[:n])); s != "" {
		return ", output: " + s
	}
	return ""
}

// waitHook waits for the end of p, at most seconds long when that is not 0.
func waitHook(ctx context.Context, p *os.File, seconds int) error {
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	fds := []unix.PollFd{{Fd: int32(p.Fd()), Events: unix.POLLIN}}
	for {
		slice := 100 * time.Millisecond // how soon a cancelled context is noticed
		if seconds > 0 {
			left := time.Until(end)
			if left <= 0 {
				return fmt.Errorf("timed out after %d s", seconds)
			}
			slice = min(slice, left)
		}
		n, err := unix.Poll(fds, int(slice.Milliseconds())+1)
		if n > 0 {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func hookPlans(hooks []specs.Hook) []hookPlan {
	out := make([]hookPlan, len(hooks))
	for i, h := range hooks {
		out[i] = hookPlan{path: h.Path, args: h.Args, env: h.Env}
		if h.Timeout != nil {
			out[i].timeout = *h.Timeout
		}
	}
	return out
}

func (s *initState) createHooks() error { return s.runHooks(s.create, specs.StateCreating) }
func (s *initState) startHooks() error  { return s.runHooks(s.start, specs.StateCreated) }

func (s *initState) runHooks(hooks []hookPlan, st specs.ContainerState) error {
	if len(hooks) == 0 {
		return nil
	}
	state := s.stateJSON
	if st == specs.StateCreated {
		state = []byte(strings.Replace(string(state), `"status":"creating"`, `"status":"created"`, 1))
	}
	for i := range hooks {
		if err := runHook(context.Background(), &hooks[i], state); err != nil {
			return err
		}
	}
	return nil
}

// createRuntimeHooks are what the parent runs while init waits: prestart (deprecated, first) and createRuntime.
func createRuntimeHooks(s *specs.Spec) []specs.Hook {
	if s.Hooks == nil {
		return nil
	}
	return append(append([]specs.Hook{}, s.Hooks.Prestart...), s.Hooks.CreateRuntime...) //nolint:staticcheck // still in the specification
}

func (c *Container) runHooks(ctx context.Context, hooks []specs.Hook, st specs.ContainerState) error {
	state := c.hookState(st)
	for _, h := range hookPlans(hooks) {
		if err := runHook(ctx, &h, state); err != nil {
			return err
		}
	}
	return nil
}

// poststart hooks run after the process has started; the specification wants a failing one to be reported, and the
// container goes on.
func (c *Container) poststart(ctx context.Context) error {
	s, err := c.hooks()
	if err != nil || s == nil {
		return err
	}
	return c.runHooks(ctx, s.Poststart, specs.StateRunning)
}

// poststop hooks run after everything is deleted; each runs, whatever the others said.
func (c *Container) poststop(s *specs.Hooks) error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, h := range s.Poststop {
		errs = append(errs, c.runHooks(context.Background(), []specs.Hook{h}, specs.StateStopped))
	}
	return errors.Join(errs...)
}

// hooks reads the configuration only when it has hooks.
func (c *Container) hooks() (*specs.Hooks, error) {
	if !c.rec.Hooks {
		return nil, nil
	}
	s, err := c.Spec()
	if err != nil {
		return nil, err
	}
	return s.Hooks, nil
}
