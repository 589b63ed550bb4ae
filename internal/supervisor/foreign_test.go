package supervisor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"skiff.dev/skiff/internal/kernel/pidfd"
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
