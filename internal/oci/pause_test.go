package oci

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPause runs pause as pid 1 of a pid namespace, gives it an orphan, and ends it.
func TestPause(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	program := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(program, PauseProgram(), 0o555); err != nil {
		t.Fatal(err)
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		cmd := exec.Command(program)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid
		waitFor(t, "pause to wait for signals", func() bool {
			b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
			_, rest, _ := strings.Cut(string(b), "SigIgn:\t")
			mask, _, _ := strings.Cut(rest, "\n")
			ignored, err := strconv.ParseUint(mask, 16, 64)
			return err == nil && ignored&(1<<(unix.SIGCHLD-1)) != 0
		})
		if comm, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm"); string(comm) != "pause\n" {
			t.Errorf("the process is %q, not the small program: %v", comm, err)
		}
		orphan(t, pid)
		waitFor(t, "the orphan to be reaped", func() bool {
			b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
			return len(b) == 0
		})
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("pause after %v: %v", sig, err)
		}
	}
}

// orphan leaves a dead process to the pid 1 of pid's namespace.
func orphan(t *testing.T, pid int) {
	t.Helper()
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(pid), "-p", "sh", "-c", "sh -c 'sleep 0.05' & exit 0").CombinedOutput()
	if err != nil {
		t.Skipf("nsenter: %v %s", err, out)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // conditions of any kind are asked for
		if ok() {
			return
		}
	}
	t.Fatalf("waited too long for %s", what)
}
