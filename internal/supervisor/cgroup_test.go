package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// TestOwnCgroup starts a supervisor that leaves the cgroup of who started it.
func TestOwnCgroup(t *testing.T) {
	n := newNode(t)
	path := fmt.Sprintf("/skiff-test-own-%d/supervisor", os.Getpid())
	opts := n.opts
	dir := t.TempDir()
	opts.Socket, opts.Dir, opts.Cgroup = filepath.Join(dir, "s.sock"), filepath.Join(dir, "s"), path
	client, err := Connect(n.ctx(), opts)
	if err != nil {
		t.Fatal(err)
	}
	info, err := client.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	layout, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	inside := func(path string) {
		t.Helper()
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", info.PID))
		if err != nil {
			t.Fatal(err)
		}
		if count := strings.Count(string(data), path+"\n"); count < len(layout.Hierarchies) {
			t.Errorf("in %d of %d hierarchies:\n%s", count, len(layout.Hierarchies), data)
		}
	}
	inside(path)
	// The next skiff wants it elsewhere.
	opts.Cgroup = path + "-next"
	if _, err := NewClient(opts).Renew(n.ctx()); err != nil {
		t.Fatal(err)
	}
	inside(opts.Cgroup)
	if err := client.Shutdown(n.ctx(), true); err != nil {
		t.Error(err)
	}
	for _, p := range []string{path, opts.Cgroup, filepath.Dir(path)} {
		group, err := cgroup.New(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := group.Destroy(); err != nil {
			t.Error(err)
		}
	}
}
