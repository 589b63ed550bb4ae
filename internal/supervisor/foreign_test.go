package supervisor

import (
	"os"
	"path/filepath"
	"strings"
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
