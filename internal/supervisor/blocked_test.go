package supervisor

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// disk is a file system that can be made to hang: who writes to it waits, in the kernel, until it is thawed.
type disk struct {
	t   *testing.T
	dir string
}

// The requests of FIFREEZE and FITHAW (linux/fs.h).
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

func newDisk(t *testing.T, n *node) *disk {
	t.Helper()
	d := &disk{t, filepath.Join(n.dir, "disk")}
	file := d.dir + ".img"
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-F", file).CombinedOutput(); err != nil {
		t.Skipf("no file system (Debian: e2fsprogs): %v %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", file, d.dir).CombinedOutput(); err != nil {
		t.Skipf("no loop devices here: %v %s", err, out)
	}
	t.Cleanup(func() {
		_ = d.ioctl(fiThaw)
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *disk) ioctl(request uint) error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetInt(int(f.Fd()), request, 0)
}

func (d *disk) freeze() {
	d.t.Helper()
	if err := d.ioctl(fiFreeze); err != nil {
		d.t.Skipf("file systems cannot be frozen here: %v", err)
	}
}

func (d *disk) thaw() {
	d.t.Helper()
	if err := d.ioctl(fiThaw); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) log(id string) func(*CreateRequest) {
	return func(r *CreateRequest) { r.Log.Path = filepath.Join(d.dir, id, "0.log"); r.Stdin = true }
}

// TestBlockedDisk lets the disk of some containers' logs hang. Only these containers wait, and only for their output.
func TestBlockedDisk(t *testing.T) {
	n := newNode(t)
	d := newDisk(t, n)
	info, err := n.client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	const many, lines = 12, 20000
	count := fmt.Sprintf("read x; seq 1 %d; exec sleep 1000", lines)
	for i := range many {
		n.run(fmt.Sprint("stuck", i), d.log(fmt.Sprint("stuck", i)), "sh", "-c", count)
	}
	n.run("fine", func(r *CreateRequest) { r.Stdin = true }, "sh", "-c", "read x; seq 1 20000; exec sleep 1000")
	d.freeze()
	for i := range many {
		n.say(fmt.Sprint("stuck", i))
	}
	waiting := func() (all int) {
		names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", info.PID))
		for _, name := range names {
			stat, _ := os.ReadFile(name)
			_, rest, _ := strings.Cut(string(stat), ") ")
			if strings.HasPrefix(rest, "D") {
				all++
			}
		}
		return all
	}
	n.eventually(func() bool { return waiting() == many })

	// Others log, run, end and begin.
	n.say("fine")
	n.eventually(func() bool { return strings.HasSuffix(n.logged("fine"), "\n20000\n") })
	began := time.Now()
	n.run("new", nil, "echo", "hello")
	if exit := n.wait("new"); exit.Code != 0 || n.logged("new") != "hello\n" {
		t.Errorf("exit %+v, log %q", exit, n.logged("new"))
	}
	// Those that wait can be asked for everything but their log.
	if out, code := n.execOutput("stuck0", "echo", "x"); out != "x\n" || code != 0 {
		t.Errorf("exec: %q %d", out, code)
	}
	if err := n.client.Signal(n.ctx(), "stuck0", unix.SIGCONT, true); err != nil {
		t.Error(err)
	}
	if pids, err := n.client.PIDs(n.ctx(), "stuck0"); err != nil || len(pids) == 0 {
		t.Errorf("%v, %v", pids, err)
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if err := n.client.Upgrade(n.ctx(), exe); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("upgrade: %v", err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("all of this took %s", took)
	}

	// Their exits are told, all of them together and not one after the other.
	began = time.Now()
	for i := 2; i < many; i++ {
		if err := n.client.Signal(n.ctx(), fmt.Sprint("stuck", i), unix.SIGKILL, true); err != nil {
			t.Error(err)
		}
	}
	for i := 2; i < many; i++ {
		if exit := n.wait(fmt.Sprint("stuck", i)); exit.Code != 137 {
			t.Errorf("exit %+v", exit)
		}
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("%d containers needed %s to end", many-2, took)
	}
	if err := n.client.ReopenLog(n.ctx(), "stuck1"); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("reopening: %v", err)
	}
	if err := n.client.Delete(n.ctx(), "stuck2", false); err != nil {
		t.Error(err)
	}

	d.thaw()
	for i := range many {
		id := fmt.Sprint("stuck", i)
		path := filepath.Join(d.dir, id, "0.log")
		last := fmt.Sprintf("\n%d\n", lines)
		if i >= 2 {
			// A pipe holds so much of what they could write.
			last = "\n1000\n"
		}
		if i == 2 {
			continue
		}
		n.eventually(func() bool {
			data, err := os.ReadFile(path)
			return err == nil && strings.Contains(logText(t, data), last)
		})
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for j, line := range strings.Split(strings.TrimSuffix(logText(t, data), "\n"), "\n") {
			if i < 2 && line != fmt.Sprint(j+1) {
				t.Fatalf("line %d of the log of %s is %q", j+1, id, line)
			}
		}
	}
	// What it cost is given back.
	n.eventually(func() bool {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", info.PID))
		pages, _ := filepath.Glob(filepath.Join(n.opts.Dir, inflightName+"*"))
		return err == nil && len(threads) < 20 && len(pages) <= 2
	})
}

// say ends the container's wait for a line.
func (n *node) say(id string) {
	n.t.Helper()
	a, err := n.client.Attach(n.ctx(), AttachRequest{ID: id, Stdin: true})
	if err != nil {
		n.t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Stdin.WriteString("go\n"); err != nil {
		n.t.Fatal(err)
	}
}

// TestBlockedDiskAtStart starts a supervisor while the disk of a container's log hangs.
func TestBlockedDiskAtStart(t *testing.T) {
	n := newNode(t)
	d := newDisk(t, n)
	before := n.run("a", d.log("a"), "sh", "-c", "read x; seq 1 20000; exec sleep 1000")
	info, err := n.client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	d.freeze()
	kill(t, info.PID)
	began := time.Now()
	if n.client, err = Connect(n.ctx(), n.opts); err != nil {
		t.Fatal(err)
	}
	if after, err := n.client.Get(n.ctx(), "a"); err != nil || after.PID != before.PID || after.Phase != PhaseRunning {
		t.Errorf("%+v, %v", after, err)
	}
	n.say("a")
	n.run("b", nil, "true")
	n.wait("b")
	if took := time.Since(began); took > time.Minute {
		t.Errorf("all of this took %s", took)
	}
	if _, err := n.client.Create(n.ctx(), CreateRequest{ID: "c", Spec: n.spec("c", "true"), Rootfs: n.overlay("c"), Log: LogOptions{Path: filepath.Join(d.dir, "c/0.log")}, Start: true}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a log on a disk that hangs: %v", err)
	}
	d.thaw()
	n.eventually(func() bool {
		data, err := os.ReadFile(filepath.Join(d.dir, "a/0.log"))
		return err == nil && strings.HasSuffix(logText(t, data), "\n20000\n")
	})
}

// TestKilledWhileDiskHangs kills a supervisor that waits for a disk. It is gone only when the disk answers, and then the
// next one goes on where the log ends.
func TestKilledWhileDiskHangs(t *testing.T) {
	n := newNode(t)
	d := newDisk(t, n)
	before := n.run("a", d.log("a"), "sh", "-c", "read x; seq 1 20000; exec sleep 1000")
	info, err := n.client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	d.freeze()
	n.say("a")
	n.eventually(func() bool {
		names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", info.PID))
		for _, name := range names {
			if stat, _ := os.ReadFile(name); strings.Contains(string(stat), ") D ") {
				return true
			}
		}
		return false
	})
	fd, err := unix.PidfdOpen(info.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	supervisor := os.NewFile(uintptr(fd), "pidfd")
	defer supervisor.Close()
	if err := unix.Kill(info.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d.thaw()
	n.eventually(func() bool { return !pidfd.Alive(supervisor) })
	if n.client, err = Connect(n.ctx(), n.opts); err != nil {
		t.Fatal(err)
	}
	if after, err := n.client.Get(n.ctx(), "a"); err != nil || after.PID != before.PID || after.Phase != PhaseRunning {
		t.Errorf("%+v, %v", after, err)
	}
	path := filepath.Join(d.dir, "a/0.log")
	n.eventually(func() bool {
		data, err := os.ReadFile(path)
		return err == nil && strings.HasSuffix(logText(t, data), "\n20000\n")
	})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(logText(t, data), "\n"), "\n") {
		if line != fmt.Sprint(i+1) {
			t.Fatalf("line %d is %q", i+1, line)
		}
	}
}

// TestUndoOfWhatDoesNotEnd undoes the create of a container whose process cannot be killed: nobody waits for it for ever,
// and it is removed when it ends.
func TestUndoOfWhatDoesNotEnd(t *testing.T) {
	n := newNode(t)
	d := newDisk(t, n)
	dir := filepath.Join(n.dir, "other")
	s, err := newServer(filepath.Join(dir, "sock"), dir, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.runPollers()
	defer func() { s.exits.stop(); s.outs.poll.stop() }()
	e := &entry{exited: make(chan struct{})}
	e.rec.ID, e.rec.Runtime, e.rec.CgroupPath = "a", "/bin/true", n.cgroup+"/a"
	s.entries["a"] = e
	made, err := s.foreign(&e.rec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(made.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	e.runc = made
	d.freeze()
	fd := -1
	stuck := exec.Command("/bin/busybox", "sh", "-c", "echo ready; : > "+filepath.Join(d.dir, "file"))
	stuck.SysProcAttr = &syscall.SysProcAttr{PidFD: &fd}
	ready, err := stuck.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stuck.Start(); err != nil {
		t.Fatal(err)
	}
	// From here on there is only one thing left for which it could wait so.
	if _, err := ready.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	e.pidfd = os.NewFile(uintptr(fd), "pidfd")
	n.eventually(func() bool { _, state, err := pidfd.StartTime(stuck.Process.Pid); return err == nil && state == 'D' })
	if err := unix.Kill(stuck.Process.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	s.undoCreate(e, 50*time.Millisecond)
	e.mu.Unlock()
	if !s.known("a") {
		t.Error("the id is free before the process has ended")
	}
	d.thaw()
	n.eventually(func() bool { return !s.known("a") })
	if _, err := os.Stat(made.dir); !os.IsNotExist(err) {
		t.Errorf("bundle left: %v", err)
	}
}
