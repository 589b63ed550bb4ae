package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// TestForeignRuntimeThatHangs is given up, and ended.
func TestForeignRuntimeThatHangs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	program, told := filepath.Join(dir, "hangs"), filepath.Join(dir, "told")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho $$ > "+told+".new; mv "+told+".new "+told+"; exec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	f := &foreign{path: program, id: "x", dir: dir, root: filepath.Join(dir, "state"), exe: exe, patience: 2 * time.Second}
	if err := f.call("state", "x"); err == nil || !strings.Contains(err.Error(), "hangs does not end within 2s") {
		t.Errorf("%v", err)
	}
	var pid int
	if err := readJSON(told, &pid); err != nil {
		t.Fatal(err)
	}
	process, err := pidfd.Open(pid, 0)
	if err != nil {
		return // gone
	}
	defer process.Close()
	for end := time.Now().Add(10 * time.Second); pidfd.Alive(process); time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // a process that is nobody's child tells this test nothing
		if time.Now().After(end) {
			t.Fatal("the runtime goes on")
		}
	}
}

// TestForeignLeftoverThatHangs starts a supervisor beside an unfinished container whose runtime hangs.
func TestForeignLeftoverThatHangs(t *testing.T) {
	n := newNode(t)
	n.run("a", nil, "sleep", "1000")
	info, err := n.client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, info.PID)
	bundle := filepath.Join(n.opts.Dir, "foreign/left")
	program, told := filepath.Join(n.dir, "hangs"), filepath.Join(n.dir, "told")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(bundle, 0o700))
	must(os.WriteFile(program, []byte("#!/bin/sh\necho $$ > "+told+".new; mv "+told+".new "+told+"; exec sleep 1000\n"), 0o755))
	must(os.WriteFile(filepath.Join(bundle, "plan.json"), fmt.Appendf(nil, `{"runtime":%q}`, program), 0o600))
	must(os.WriteFile(filepath.Join(bundle, "config.json"), fmt.Appendf(nil, `{"linux":{"cgroupsPath":%q}}`, n.cgroup+"/left"), 0o600))
	began := time.Now()
	n.client, err = Connect(n.ctx(), n.opts)
	must(err)
	if out, code := n.execOutput("a", "echo", "x"); out != "x\n" || code != 0 {
		t.Errorf("exec: %q %d", out, code)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
	var pid int
	n.eventually(func() bool { return readJSON(told, &pid) == nil })
	if _, err := n.client.Create(n.ctx(), CreateRequest{ID: "left", Spec: n.spec("left", "true")}); !errors.Is(err, ErrExists) {
		t.Errorf("its id is free: %v", err)
	}
	kill(t, pid)
	n.eventually(func() bool { _, err := os.Stat(bundle); return errors.Is(err, os.ErrNotExist) })
	n.eventually(func() bool { return len(n.ids()) == 1 })
}

// TestForeignRuntimesThatHangHoldUpNoEnd removes as many containers whose runtime hangs as may be wound up at once.
func TestForeignRuntimesThatHangHoldUpNoEnd(t *testing.T) {
	n := newNode(t)
	s, err := newServer(filepath.Join(n.dir, "other.sock"), filepath.Join(n.dir, "other"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	program, told, gate := filepath.Join(n.dir, "hangs"), filepath.Join(n.dir, "told"), filepath.Join(n.dir, "gate")
	if err := errors.Join(os.WriteFile(program, []byte("#!/bin/sh\necho >> "+told+"\nread x < "+gate+"\n"), 0o755), unix.Mkfifo(gate, 0o600)); err != nil {
		t.Fatal(err)
	}
	deleted := make(chan error, maxEndings)
	for i := range maxEndings {
		e := &entry{exited: make(chan struct{})}
		e.rec = record{Container: Container{ID: fmt.Sprint("a", i), Phase: PhaseExited, CgroupPath: fmt.Sprint(n.cgroup, "/a", i)}, Runtime: program}
		f, err := s.foreign(&e.rec)
		if err == nil {
			err = os.MkdirAll(f.dir, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		e.runc = f
		s.entries[e.rec.ID] = e
		s.publish(e)
		go func() { deleted <- s.delete(e, false) }()
	}
	n.eventually(func() bool { text, _ := os.ReadFile(told); return len(text) == maxEndings })
	select {
	case s.endings <- struct{}{}:
		<-s.endings
	default:
		t.Error("no container can end")
	}
	open, err := os.OpenFile(gate, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.WriteString(strings.Repeat("\n", maxEndings)); err != nil {
		t.Fatal(err)
	}
	for range maxEndings {
		if err := <-deleted; err != nil {
			t.Error(err)
		}
	}
}

func (n *node) ids() (all []string) {
	n.t.Helper()
	list, err := n.client.List(n.ctx())
	if err != nil {
		n.t.Fatal(err)
	}
	for _, c := range list {
		all = append(all, c.ID)
	}
	return all
}

// TestConsoleSocket waits for a terminal, however often it is interrupted, and not for ever.
func TestConsoleSocket(t *testing.T) {
	c, err := listenConsole()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	connect := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: c.path})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	connect()
	if _, err := c.receive(50 * time.Millisecond); !errors.Is(err, errNoTerminal) {
		t.Errorf("a runtime that sends nothing: %v", err)
	}
	type answer struct {
		f   *os.File
		err error
	}
	answers, thread := make(chan answer, 1), make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		f, err := c.receive(time.Minute)
		answers <- answer{f, err}
	}()
	tid := <-thread
	for range 100 {
		if err := unix.Tgkill(os.Getpid(), tid, unix.SIGURG); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // nothing tells that a thread is back in poll
	}
	master, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.Sendmsg(connect(), []byte{0}, unix.UnixRights(int(master.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	got := <-answers
	if got.err != nil {
		t.Fatal(got.err)
	}
	got.f.Close()
}

// TestForeignMonitorGone calls the runtime when the container's monitor has ended and another process has its pid: the
// runtime must not run among that one's mounts.
func TestForeignMonitorGone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	program, told := filepath.Join(dir, "tells"), filepath.Join(dir, "told")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nreadlink /proc/self/ns/mnt > "+told+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "1000")
	other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", other.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	start, _, err := pidfd.StartTime(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	f := &foreign{path: program, id: "x", dir: dir, root: filepath.Join(dir, "state"), exe: exe, monitor: other.Process.Pid, patience: time.Minute}
	for _, c := range []struct {
		start  uint64
		inside bool
	}{{start, true}, {start - 1, false}} {
		f.monitorStart = c.start
		if err := f.call("state", "x"); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(told)
		if err != nil {
			t.Fatal(err)
		}
		if inside := strings.TrimSpace(string(got)) == theirs; inside != c.inside {
			t.Errorf("start %d of %d: among the mounts of pid %d: %v", c.start, start, other.Process.Pid, inside)
		}
	}
}

// TestForeignJoinsTheLiving: who has ended, and whose pid may be another's, is not joined.
func TestForeignJoinsTheLiving(t *testing.T) {
	self, err := pidfd.Open(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	for want, e := range map[bool]*entry{
		true:  {rec: record{Container: Container{Phase: PhaseRunning}}, pidfd: self},
		false: {rec: record{Container: Container{Phase: PhaseExited}}},
	} {
		if got := e.alive(); got != want {
			t.Errorf("phase %v: alive %v", e.rec.Phase, got)
		}
	}
	if deleted := (&entry{rec: record{Container: Container{Phase: PhaseRunning}}}); deleted.alive() {
		t.Error("without a pidfd it is alive")
	}
}
