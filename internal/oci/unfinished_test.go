package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// createAndDie is a role of the test program: it makes a container and is killed behind the step of that number.
func createAndDie(args []string) {
	last, err := strconv.Atoi(args[0])
	if err != nil {
		panic(err)
	}
	o := CreateOptions{ID: args[1], StateDir: args[2], Spec: new(specs.Spec), Run: args[3] == "true"}
	if err := json.NewDecoder(os.Stdin).Decode(o.Spec); err != nil {
		panic(err)
	}
	steps := slices.Insert(createParentSteps(), last+1, parentStep{"die", func(*creation, context.Context) error {
		return unix.Kill(os.Getpid(), unix.SIGKILL)
	}})
	_, err = create(context.Background(), o, steps)
	panic(err)
}

func (b *box) dieAfter(step int) {
	b.t.Helper()
	cmd := exec.Command("/proc/self/exe", "create-and-die", strconv.Itoa(step), b.opts.ID, b.opts.StateDir, strconv.FormatBool(b.opts.Run))
	in, err := cmd.StdinPipe()
	must(b.t, err)
	cmd.Stderr = os.Stderr
	must(b.t, cmd.Start())
	must(b.t, json.NewEncoder(in).Encode(b.spec))
	must(b.t, in.Close())
	var end *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &end) || end.Success() || end.String() != "signal: killed" {
		b.t.Fatalf("the creator: %v", err)
	}
}

// TestKilledCreator kills who makes a container after each of the steps in turn: what was cloned ends by itself, waits to be
// started or is the process by then, and what is left can be removed, whole.
func TestKilledCreator(t *testing.T) {
	kinds := map[string]func(*box){
		"create": func(*box) {},
		"run":    func(b *box) { b.opts.Run = true },
		"users": func(b *box) {
			b.giveTo(100000)
			b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			ids := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
			b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = ids, ids
		},
	}
	for kind, change := range kinds {
		for i, s := range createParentSteps() {
			t.Run(kind+"/"+s.name, func(t *testing.T) {
				b := newBox(t, "exec sleep 1000")
				change(b)
				if s.name == "record" { // without the configuration nobody knows of hooks, and none has run
					b.spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/false"}}}
				}
				b.dieAfter(i)
				c, err := Load(b.opts.StateDir, b.opts.ID)
				switch {
				case errors.Is(err, ErrNotFound):
					err = RemoveUnfinished(b.opts.StateDir, b.opts.ID)
				case err == nil:
					defer c.Init.Close()
					if err := RemoveUnfinished(b.opts.StateDir, b.opts.ID); !errors.Is(err, ErrExists) {
						t.Errorf("one with a record: %v", err)
					}
					err = b.goesOn(c, s.name)
				}
				if err != nil {
					t.Error(err)
				}
				b.clean()
			})
		}
	}
}

// goesOn looks how a container goes on whose creator was killed behind a step, and removes it.
func (b *box) goesOn(c *Container, step string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	want := map[string]specs.ContainerState{"handshake": specs.StateCreating, "state": specs.StateCreated}[step]
	switch {
	case step == "limits": // init was told to go on: it may have been ready before its creator was killed
	case want == "":
		if err := WaitGone(ctx, c.Init.PIDFD); err != nil {
			return err
		}
		return c.Delete(false)
	case b.opts.Run:
		want = specs.StateRunning
		fallthrough
	default:
		for st := b.state(); st != want; st = b.state() { // init may be about to say so
			if ctx.Err() != nil || st == specs.StateStopped {
				return fmt.Errorf("state %q, want %q", st, want)
			}
		}
	}
	return c.Delete(true)
}

func (b *box) state() specs.ContainerState {
	b.t.Helper()
	c, err := Load(b.opts.StateDir, b.opts.ID)
	must(b.t, err)
	defer c.Init.Close()
	st, err := c.Status()
	must(b.t, err)
	return st
}

// TestUnfinishedInTheCgroupOfOthers leaves alone who is in the cgroup and was not to become the container.
func TestUnfinishedInTheCgroupOfOthers(t *testing.T) {
	b := newBox(t, "true")
	dir := filepath.Join(b.opts.StateDir, b.opts.ID)
	must(t, os.MkdirAll(dir, 0o700))
	must(t, os.Symlink(b.spec.Linux.CgroupsPath, filepath.Join(dir, cgroupLink)))
	m, err := cgroup.New(b.spec.Linux.CgroupsPath)
	must(t, err)
	must(t, m.Create())
	other := exec.Command("sleep", "1000")
	must(t, other.Start())
	must(t, m.Add(other.Process.Pid, nil))
	if err := removeUnfinished(b.opts.StateDir, b.opts.ID, 50*time.Millisecond); err == nil {
		t.Error("no error")
	}
	if err := other.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the other process: %v", err)
	}
	must(t, other.Process.Kill())
	_ = other.Wait()
	must(t, m.Destroy())
	b.clean()
}
