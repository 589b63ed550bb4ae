package supervisor

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// TestNothingGrows runs many containers and execs and compares what the
// supervisor holds before and after.
func TestNothingGrows(t *testing.T) {
	n := newNode(t)
	info, err := n.client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	n.run("stays", nil, "sleep", "1000")
	round := func(i int) {
		id := fmt.Sprint("c", i)
		n.run(id, func(r *CreateRequest) { r.Stdin = true; r.Spec.Process.Terminal = i%2 == 0 }, "sh", "-c", "echo x")
		n.wait(id)
		if err := n.client.Delete(n.ctx(), id, false); err != nil {
			t.Fatal(err)
		}
		p, err := n.client.Exec(n.ctx(), ExecRequest{ID: "stays", Process: &specs.Process{Args: []string{"true"}, Cwd: "/", Env: []string{"PATH=/bin"}, Terminal: i%2 == 0}}, [3]*os.File{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(n.ctx()); err != nil {
			t.Fatal(err)
		}
		if p.Console != nil {
			p.Console.Close()
		}
		if _, err := n.client.Create(n.ctx(), CreateRequest{ID: "bad", Spec: n.spec("bad", "none"), Rootfs: n.overlay(fmt.Sprint("bad", i)), Start: true}); err == nil {
			t.Fatal("a missing program ran")
		}
	}
	descriptors := func() (all []string) {
		dir := fmt.Sprintf("/proc/%d/fd", info.PID)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			target, _ := os.Readlink(dir + "/" + e.Name())
			all = append(all, target)
		}
		return all
	}
	for i := range 4 {
		round(i)
	}
	before := descriptors()
	for i := range 40 {
		round(4 + i) // the writable layer of a container is nobody else's
	}
	// A connection's end is handled beside the reply that the client saw.
	n.eventually(func() bool { return len(descriptors()) <= len(before) })
	if after := descriptors(); len(after) > len(before) {
		t.Errorf("descriptors grew from %d to %d:\n%s", len(before), len(after), strings.Join(after, "\n"))
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", info.PID, info.PID))
	if err == nil && len(strings.Fields(string(children))) > 1 {
		t.Errorf("children left: %s", children)
	}
}

func TestFullDiskLosesLogLinesOnly(t *testing.T) {
	n := newNode(t)
	dir := n.dir + "/small"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	c := n.run("a", func(r *CreateRequest) { r.Log.Path = dir + "/0.log" }, "sh", "-c", "seq 1 50000; echo done; exit 3")
	if c.PID == 0 {
		t.Error("no pid")
	}
	if exit := n.wait("a"); exit.Code != 3 {
		t.Errorf("exit %+v", exit)
	}
	state, err := n.client.Get(n.ctx(), "a")
	if err != nil || state.LostLogBytes == 0 {
		t.Errorf("%+v, %v", state, err)
	}
	data, err := os.ReadFile(dir + "/0.log")
	if err != nil || len(data) == 0 || data[len(data)-1] != '\n' {
		t.Errorf("log of %d bytes is torn: %v", len(data), err)
	}
}

// TestFullDiskLetsContainersBegin has no room for the log's directory.
func TestFullDiskLetsContainersBegin(t *testing.T) {
	n := newNode(t)
	dir := n.dir + "/small"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "nr_inodes=2"); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := os.WriteFile(dir+"/last", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.run("a", func(r *CreateRequest) { r.Log.Path = dir + "/a/0.log"; r.Stdin = true }, "sh", "-c", "echo lost; read x; echo kept; exit 3")
	n.eventually(func() bool {
		log, err := os.ReadFile(n.opts.Dir + "/supervisor.log")
		return err == nil && strings.Contains(string(log), "no space left")
	})
	if err := os.Remove(dir + "/last"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "nr_inodes=100"); err != nil {
		t.Fatal(err)
	}
	n.say("a")
	if exit := n.wait("a"); exit.Code != 3 {
		t.Errorf("exit %+v", exit)
	}
	state, err := n.client.Get(n.ctx(), "a")
	if data, rerr := os.ReadFile(dir + "/a/0.log"); err != nil || rerr != nil || !strings.HasSuffix(logText(t, data), "kept\n") {
		t.Errorf("%+v, %v; log %q, %v", state, err, data, rerr)
	}
}

func TestSlowDiskHoldsUpOnlyTheWriter(t *testing.T) {
	n := newNode(t)
	n.run("flood", func(r *CreateRequest) { r.Log.MaxSize, r.Log.MaxFiles = 1<<20, 2 }, "yes")
	if out, code := n.execOutput("flood", "echo", "x"); out != "x\n" || code != 0 {
		t.Errorf("exec: %q %d", out, code)
	}
	n.run("quiet", nil, "sh", "-c", "echo hello")
	n.wait("quiet")
	if n.logged("quiet") != "hello\n" {
		t.Errorf("log %q", n.logged("quiet"))
	}
	files := func() int {
		entries, _ := os.ReadDir(n.dir + "/logs/flood")
		return len(entries)
	}
	n.eventually(func() bool { return files() == 2 })
	if err := n.client.Signal(n.ctx(), "flood", syscall.SIGKILL, true); err != nil {
		t.Error(err)
	}
	n.wait("flood")
	if files() > 2 {
		t.Errorf("%d log files", files())
	}
}

// TestEndingTogether ends many containers at once: the supervisor does not get
// a thread for each, which would stay and cost memory.
func TestEndingTogether(t *testing.T) {
	n := newNode(t)
	info, err := n.client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	const many = 80
	for i := range many {
		n.run(fmt.Sprint("c", i), nil, "sleep", "1000")
	}
	var group errgroup.Group
	for i := range many {
		group.Go(func() error { return n.client.Delete(n.ctx(), fmt.Sprint("c", i), true) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", info.PID))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d threads", len(threads))
	if len(threads) > 40 {
		t.Errorf("%d threads after %d containers ended together", len(threads), many)
	}
}
