package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestEvacuate treats a cgroup of its own as the root of a container.
func TestEvacuate(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	mount := Root
	if l, err := Detect(); err != nil || !l.V2 {
		mount = filepath.Join(Root, "unified") // a hybrid machine's version 2
		if _, err := os.Stat(filepath.Join(mount, "cgroup.procs")); err != nil {
			t.Skip("cgroup v2 is not mounted: ", err)
		}
	}
	if n, err := evacuate(mount); n != 0 || err != nil {
		t.Fatalf("of the true root %d processes were moved: %v", n, err)
	}
	root := filepath.Join(mount, fmt.Sprintf("skiff-evacuate-%d", os.Getpid()))
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	inside := exec.Command("sh", "-c", "echo $$ > "+root+"/cgroup.procs && echo in && exec sleep 1000")
	out, err := inside.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := inside.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = inside.Process.Kill()
		_ = inside.Wait()
		if err := (&Manager{dirs: []string{root}}).Destroy(); err != nil {
			t.Error(err)
		}
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} { // the second time there is nobody to move
		if n, err := evacuate(root); n != want || err != nil {
			t.Fatalf("%d processes were moved, want %d: %v", n, want, err)
		}
	}
	if pids, err := ownProcs(filepath.Join(root, evacuated)); err != nil || len(pids) != 1 || pids[0] != inside.Process.Pid {
		t.Errorf("in the leaf are %v (%v), want %d", pids, err, inside.Process.Pid)
	}
}
