package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// TestStraight: init becomes the process without a further word, and whoever finds that running reads so in the record.
func TestStraight(t *testing.T) {
	b := newBox(t, "echo here; exec sleep 1000")
	b.opts.Run = true
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b.opts.Stdio[1] = w
	must(t, b.create())
	w.Close()
	if _, err := io.ReadFull(r, make([]byte, len("here"))); err != nil {
		t.Fatal(err)
	}
	c, err := Load(b.opts.StateDir, b.opts.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Init.Close()
	if st, err := c.Status(); err != nil || st != specs.StateRunning {
		t.Errorf("status %q, %v", st, err)
	}
	must(t, b.c.Start(context.Background()))
}

// TestStraightTooLate: a caller whose time is over when init is the process already gets no container, and nothing of it stays,
// also without a pid namespace that would end the process's children.
func TestStraightTooLate(t *testing.T) {
	b := newBox(t, "sleep 1000 & exec sleep 1000")
	b.opts.Run = true
	b.spec.Linux.Namespaces = slices.DeleteFunc(b.spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	steps := createParentSteps()
	for i, s := range steps {
		if s.name == "handshake" {
			steps[i].do = func(cr *creation, ctx context.Context) error {
				defer cancel()
				if err := s.do(cr, ctx); err != nil {
					return err
				}
				for n := 0; n < 2; {
					pids, err := cr.c.cg.Procs()
					if err != nil || !pidfd.Alive(cr.child.pidfd) {
						return fmt.Errorf("processes: %w", err)
					}
					n = len(pids)
				}
				return nil
			}
		}
	}
	if _, err := create(ctx, b.opts, steps); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	b.clean()
}

// dieAfter asks the test's program to be one that makes a container and is killed: state directory, id, step, run.
const dieAfter = "SKIFF_TEST_DIE_AFTER"

// TestCreatorKilled kills who makes a container after each of its steps. Init then ends by itself, or is the process by then;
// from the record on, all can be removed.
func TestCreatorKilled(t *testing.T) {
	if how := strings.Split(os.Getenv(dieAfter), " "); len(how) == 4 {
		dieAt(t, how[0], how[1], how[2], how[3])
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	recorded := false
	for _, run := range []bool{false, true} {
		recorded = false
		for _, s := range createParentSteps() {
			recorded = recorded || s.name == "record"
			t.Run(fmt.Sprintf("%s/run=%v", s.name, run), func(t *testing.T) { creatorKilled(t, s.name, run, recorded) })
		}
	}
}

func dieAt(t *testing.T, dir, id, step, run string) {
	b := newBox(t, "exec sleep 1000")
	b.opts.StateDir, b.opts.ID, b.opts.Run, b.spec.Linux.CgroupsPath = dir, id, run == "true", "/"+id
	b.spec.Hooks = nil
	if step == "record" {
		b.spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/false"}}}
	}
	steps := createParentSteps()
	for i, s := range steps {
		if s.name == step {
			steps[i].do = func(cr *creation, ctx context.Context) error {
				err := s.do(cr, ctx)
				if err == nil && cr.child != nil {
					err = os.WriteFile(filepath.Join(filepath.Dir(dir), "pid"), fmt.Append(nil, cr.child.pid), 0o600)
				}
				if err == nil {
					err = unix.Kill(os.Getpid(), unix.SIGKILL)
				}
				return err
			}
		}
	}
	_, err := create(context.Background(), b.opts, steps)
	t.Fatal(err)
}

func creatorKilled(t *testing.T, step string, run, recorded bool) {
	top := t.TempDir()
	dir, id := filepath.Join(top, "state"), fmt.Sprintf("skiff-test-%d-%s-%v", os.Getpid(), step, run)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestCreatorKilled$")
	cmd.Env = append(os.Environ(), dieAfter+"="+strings.Join([]string{dir, id, step, fmt.Sprint(run)}, " "), "TMPDIR="+top)
	out, err := cmd.CombinedOutput()
	if st, ok := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); !ok || st.Signal() != unix.SIGKILL {
		t.Fatalf("%v\n%s", err, out)
	}
	m, err := cgroup.New("/" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if m.Exists() {
			t.Error("cgroup is left")
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if !recorded { // nobody knows of it: it must go by itself
		if b, err := os.ReadFile(filepath.Join(top, "pid")); err == nil {
			pid, err := strconv.Atoi(string(b))
			must(t, err)
			if f, err := pidfd.Open(pid, 0); err == nil {
				must(t, WaitGone(ctx, f))
			}
		}
		must(t, m.Destroy())
		return
	}
	c, err := Load(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		defer c.Init.Close()
		if err := c.Delete(true); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}()
	want, lives := map[string]specs.ContainerState{
		"handshake/run=false": specs.StateCreating, "state/run=false": specs.StateCreated, // it waits to be started
		"handshake/run=true": specs.StateRunning, "state/run=true": specs.StateRunning,
	}[fmt.Sprintf("%s/run=%v", step, run)]
	if step == "limits" { // init was told to go on: it was ready before who told it was killed, or has ended
		return
	}
	if !lives {
		must(t, WaitGone(ctx, c.Init.PIDFD))
		must(t, c.Delete(false))
		return
	}
	for st := c.status(t); st != want; st = c.status(t) { // init may be about to say so
		c.Init.Close()
		if c, err = Load(dir, id); err != nil || ctx.Err() != nil || st == specs.StateStopped {
			t.Fatalf("state %q, want %q: %v", st, want, err)
		}
	}
}

func (c *Container) status(t *testing.T) specs.ContainerState {
	t.Helper()
	st, err := c.Status()
	if err != nil {
		t.Fatal(err)
	}
	return st
}
