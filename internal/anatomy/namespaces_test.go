package anatomy

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestHostnameOf reads a pod's hostname and stays in the host's namespace, also with the first thread.
func TestHostnameOf(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making namespaces needs root")
	}
	pod := exec.Command("sh", "-c", "echo of-a-pod >/proc/sys/kernel/hostname; echo; exec sleep 1000")
	pod.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS}
	ready, err := pod.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pod.Process.Kill(); _ = pod.Wait() }()
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	before, err := os.Readlink("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if name, err := hostnameOf(pod.Process.Pid); err != nil || name != "of-a-pod" {
			t.Fatalf("%q, %v", name, err)
		}
	}
	if now, err := os.Readlink("/proc/self/ns/uts"); err != nil || now != before {
		t.Errorf("%s, before it was %s: %v", now, before, err)
	}
}
