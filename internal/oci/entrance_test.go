package oci

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// TestBornInCgroups: init and later processes are in every cgroup of the container, both where they enter it before
// init's program runs and where they are put there, because init would find too little room.
func TestBornInCgroups(t *testing.T) {
	few, many, slow, small := int64(8), int64(100), int64(5000), int64(4<<20)
	cases := map[string]*specs.LinuxResources{
		"no limits":      nil,
		"room for tasks": {Pids: &specs.LinuxPids{Limit: &many}},
		"few tasks":      {Pids: &specs.LinuxPids{Limit: &few}},
		"little CPU":     {CPU: &specs.LinuxCPU{Quota: &slow}},
		"little memory":  {Memory: &specs.LinuxMemory{Limit: &small}},
	}
	if l, err := cgroup.Detect(); err == nil && l.V2 {
		cases["dies as one"] = &specs.LinuxResources{Unified: map[string]string{"memory.oom.group": "1"}}
	}
	for name, r := range cases {
		for _, run := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/run=%v", name, run), func(t *testing.T) {
				b := newBox(t, "exec sleep 1000")
				b.spec.Linux.Resources = r
				b.opts.Run = run
				if err := b.create(); err != nil {
					t.Fatal(err)
				}
				if err := b.c.Start(context.Background()); err != nil {
					t.Fatal(err)
				}
				p, err := b.c.Exec(context.Background(), ExecOptions{Spec: &specs.Process{Args: []string{"sleep", "1000"}, Cwd: "/",
					Env: []string{"PATH=/bin"}}})
				if err != nil {
					t.Fatal(err)
				}
				checkCgroups(t, b.c, b.c.Init.PID)
				checkCgroups(t, b.c, p.PID)
				// Init, the reaper of the pid namespace, cannot go before its processes are reaped by their parent: us.
				if err := pidfd.Signal(p.PIDFD, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
				if _, err := p.Wait(); err != nil {
					t.Fatal(err)
				}
				p.Close()
			})
		}
	}
}

func checkCgroups(t *testing.T, c *Container, pid int) {
	t.Helper()
	in, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(in)) {
		if strings.HasSuffix(strings.TrimSpace(line), ":"+c.CgroupPath()) {
			found++
		}
	}
	if want := len(c.cg.Dirs()); found != want {
		t.Errorf("process %d is in %d cgroups of the container, want %d:\n%s", pid, found, want, in)
	}
}

// TestEntranceFails: who cannot enter a cgroup says so, and nothing is left.
func TestEntranceFails(t *testing.T) {
	for _, run := range []bool{false, true} {
		t.Run(fmt.Sprintf("run=%v", run), func(t *testing.T) { entranceFails(t, run) })
	}
}

func entranceFails(t *testing.T, run bool) {
	if l, err := cgroup.Detect(); err == nil && l.V2 {
		t.Skip("this machine has cgroup v2: there is no entrance")
	}
	b := newBox(t, "true")
	b.opts.Run = run
	steps := createParentSteps()
	for i, s := range steps {
		if s.name == map[bool]string{false: "cgroup", true: "rest"}[run] {
			steps[i].do = func(cr *creation, ctx context.Context) error {
				if err := s.do(cr, ctx); err != nil {
					return err
				}
				null, err := os.Open("/dev/null") // writing to it is refused
				if err != nil {
					return err
				}
				cr.files.owned = append(cr.files.owned, null)
				cr.sp.tasks[0] = null
				return nil
			}
		}
		if s.name == "handshake" {
			steps[i].do = func(cr *creation, ctx context.Context) error {
				if err := WaitGone(ctx, cr.child.pidfd); err != nil { // its last word must be there all the same
					return err
				}
				return s.do(cr, ctx)
			}
		}
	}
	_, err := create(context.Background(), b.opts, steps)
	if err == nil || !strings.Contains(err.Error(), "entering the cgroups") {
		t.Errorf("error %v", err)
	}
	b.clean()
}

// TestLimitsOfUnplaced: a container whose init cannot be born in its cgroup, as where a profile around us forbids clone3,
// has its limits and is there all the same.
func TestLimitsOfUnplaced(t *testing.T) {
	for _, run := range []bool{false, true} {
		t.Run(fmt.Sprintf("run=%v", run), func(t *testing.T) { limitsOfUnplaced(t, run) })
	}
}

func limitsOfUnplaced(t *testing.T, run bool) {
	b := newBox(t, "exec sleep 1000")
	b.opts.Run = run
	limit := int64(100)
	b.spec.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
	steps := createParentSteps()
	for i, s := range steps {
		if s.name == "clone" {
			steps[i].do = func(cr *creation, ctx context.Context) error {
				cr.sp.tasks, cr.sp.into = nil, nil
				return s.do(cr, ctx)
			}
		}
	}
	var err error
	if b.c, err = create(context.Background(), b.opts, steps); err != nil {
		t.Fatal(err)
	}
	checkCgroups(t, b.c, b.c.Init.PID)
	got, err := os.ReadFile(b.c.cg.Dir("pids") + "/pids.max")
	if err != nil || strings.TrimSpace(string(got)) != "100" {
		t.Errorf("pids.max %q, %v", got, err)
	}
}

// TestDiedBeforeStart: who died before it was to become the process has not been started.
func TestDiedBeforeStart(t *testing.T) {
	b := newBox(t, "true")
	b.opts.Run = true
	b.opts.PidFile = filepath.Join(t.TempDir(), "pid") // it is there before the process
	must(t, b.create())
	must(t, pidfd.Signal(b.c.Init.PIDFD, unix.SIGKILL))
	must(t, WaitGone(context.Background(), b.c.Init.PIDFD))
	if err := b.c.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "init was killed by signal 9") {
		t.Errorf("error %v", err)
	}
	must(t, b.c.Delete(true))
	b.clean()
}

// TestNewNetwork: a container has a network of its own with its loopback device up, and who made it is where it was.
func TestNewNetwork(t *testing.T) {
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []bool{false, true} {
		t.Run(fmt.Sprintf("run=%v", run), func(t *testing.T) {
			b := newBox(t, "readlink /proc/self/ns/net; cat /proc/net/fib_trie")
			b.opts.Run = run
			out, code := b.run()
			if code != 0 || strings.HasPrefix(out, host) || !strings.Contains(out, "127.0.0.1") {
				t.Errorf("exit code %d, host's network is %s; printed\n%s", code, host, out)
			}
			threads, err := filepath.Glob("/proc/self/task/*/ns/net")
			if err != nil || len(threads) == 0 {
				t.Fatal(threads, err)
			}
			for _, link := range threads {
				if ns, err := os.Readlink(link); err == nil && ns != host { // one may have ended
					t.Errorf("%s is %s, want %s", link, ns, host)
				}
			}
		})
	}
}

// TestRecordOfRun: who looks at a container that was created to be started at once sees that it is running.
func TestRecordOfRun(t *testing.T) {
	b := newBox(t, "exec sleep 1000")
	b.opts.Run = true
	must(t, b.create())
	must(t, b.c.Start(context.Background()))
	c, err := Load(b.opts.StateDir, b.opts.ID)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := c.Status(); err != nil || st != specs.StateRunning {
		t.Errorf("status %q, %v", st, err)
	}
}

// TestClonedByTheStage: where nobody may be cloned who shares our memory, the stage does it.
func TestClonedByTheStage(t *testing.T) {
	l, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	h := l.Hierarchies[len(l.Hierarchies)-1]
	if !l.V2 && !h.Hybrid() {
		t.Skip("version 2 is not mounted")
	}
	m, err := cgroup.NewIn(cgroup.Layout{V2: l.V2, Hierarchies: []cgroup.Hierarchy{h}}, fmt.Sprintf("/skiff-test-stage-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Destroy(); err != nil {
			t.Error(err)
		}
	}()
	s := &spawn{alone: true, clone: unix.CLONE_NEWUTS}
	var files fileList
	defer files.closeAll()
	if err := files.stdio([3]*os.File{}, nil); err != nil {
		t.Fatal(err)
	}
	w, theirs, err := newWire()
	if err != nil {
		t.Fatal(err)
	}
	defer w.f.Close()
	s.files = files.socket(theirs)
	if s.into, err = m.Into(); err != nil {
		t.Fatal(err)
	}
	defer s.into.Close()
	if s.exe, err = SealedSelf(); err != nil {
		t.Fatal(err)
	}
	defer s.exe.Close()
	c, err := s.cloneInit()
	if err != nil {
		t.Fatal(err)
	}
	defer c.kill()
	if pids, err := m.Procs(); err != nil || len(pids) != 1 || pids[0] != c.pid || !c.placed {
		t.Errorf("in the cgroup are %v, %v; want %d, placed: %v", pids, err, c.pid, c.placed)
	}
}
