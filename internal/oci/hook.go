package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
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
		return fmt.Errorf("hook %q: killed by signal %d (%v)%s", h.path, int(st.Signal), st.Signal, output(out))
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

// hookError names the hook that failed, in runc's words, which tools look for.
func hookError(kind string, n int, err error) error {
	return fmt.Errorf("error running %s hook #%d: %w", kind, n, err)
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

// createHooks run in the root, as runc's do: their paths are the host's, and from there they find the container's.
func (s *initState) createHooks() error {
	if err := unix.Fchdir(s.root); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return s.runHooks("createContainer", s.create, s.stateJSON)
}

// startHooks have the environment of the process unless they name one of their own, and no more rights than it has: they
// are programs of the image, run by its user.
func (s *initState) startHooks() error {
	for i := range s.start {
		if len(s.start[i].env) == 0 {
			s.start[i].env = s.process.env
		}
	}
	return s.runHooks("startContainer", s.start, []byte(strings.Replace(string(s.stateJSON), `"status":"creating"`, `"status":"created"`, 1)))
}

// runHooks tells hooks the pid that the container knows: they run inside (runtime.md, "State").
func (s *initState) runHooks(kind string, hooks []hookPlan, state []byte) error {
	if len(hooks) == 0 {
		return nil
	}
	state, err := withPID(state, os.Getpid())
	if err != nil {
		return err
	}
	for i := range hooks {
		if err := runHook(context.Background(), &hooks[i], state); err != nil {
			return hookError(kind, i, err)
		}
	}
	return nil
}

func withPID(state []byte, pid int) ([]byte, error) {
	var s specs.State
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, err
	}
	s.Pid = pid
	return json.Marshal(s)
}

// runtimeHooks are what the parent runs while init waits: prestart (deprecated, first) and createRuntime.
func (c *Container) runtimeHooks(ctx context.Context, h *specs.Hooks) error {
	if err := c.runHooks(ctx, "prestart", h.Prestart, specs.StateCreating); err != nil { //nolint:staticcheck // still in the specification
		return err
	}
	return c.runHooks(ctx, "createRuntime", h.CreateRuntime, specs.StateCreating)
}

func hasRuntimeHooks(s *specs.Spec) bool {
	return s.Hooks != nil && len(s.Hooks.Prestart)+len(s.Hooks.CreateRuntime) > 0 //nolint:staticcheck // still in the specification
}

func (c *Container) runHooks(ctx context.Context, kind string, hooks []specs.Hook, st specs.ContainerState) error {
	state := c.hookState(st)
	for i, h := range hookPlans(hooks) {
		if err := runHook(ctx, &h, state); err != nil {
			return hookError(kind, i, err)
		}
	}
	return nil
}

// poststart hooks run after the process has started. One that fails ends the container (runtime.md, "Lifecycle").
func (c *Container) poststart(ctx context.Context) error {
	s, err := c.hooks()
	if err != nil || s == nil {
		return err
	}
	if err := c.runHooks(ctx, "poststart", s.Poststart, specs.StateRunning); err != nil {
		return errors.Join(fmt.Errorf("starting container %q: %w", c.ID, err), c.Delete(true))
	}
	return nil
}

// poststop hooks run after everything is deleted; each runs, whatever the others said, and a failure is only told.
func (c *Container) poststop(s *specs.Hooks) {
	if s == nil {
		return
	}
	for i, h := range hookPlans(s.Poststop) {
		if err := runHook(context.Background(), &h, c.hookState(specs.StateStopped)); err != nil {
			c.warn(hookError("poststop", i, err).Error())
		}
	}
}

// warn tells what went wrong and stops nothing.
func (c *Container) warn(text string) {
	if c.Warn != nil {
		c.Warn(text)
	}
}

// hooks reads the configuration only when it has hooks.
func (c *Container) hooks() (*specs.Hooks, error) {
	if !c.rec.Hooks {
		return nil, nil
	}
	s, err := c.Spec()
	if c.rec.Creating && errors.Is(err, os.ErrNotExist) { // who made it was killed before any hook ran
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.Hooks, nil
}
