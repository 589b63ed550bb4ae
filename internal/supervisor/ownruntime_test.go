package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// TestLostState ends and removes containers whose runtime state is gone or damaged, before and after the supervisor is
// replaced.
func TestLostState(t *testing.T) {
	n := newNode(t)
	lose := map[string]func(dir string) error{
		"gone":    os.RemoveAll,
		"damaged": func(dir string) error { return os.WriteFile(filepath.Join(dir, "state.json"), []byte("{"), 0o600) },
	}
	for _, replaced := range []bool{false, true} {
		var ids []string
		for how, lose := range lose {
			id := fmt.Sprint(how, replaced)
			ids = append(ids, id)
			n.run(id, nil, "sleep", "1000")
			if err := lose(filepath.Join(n.opts.Dir, "oci", id)); err != nil {
				t.Fatal(err)
			}
		}
		if replaced {
			info, err := n.client.Info(n.ctx())
			if err != nil {
				t.Fatal(err)
			}
			kill(t, info.PID)
			if n.client, err = Connect(n.ctx(), n.opts); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range ids {
			if err := n.client.Signal(n.ctx(), id, unix.SIGTERM, false); err == nil || strings.Contains(err.Error(), "internal fault") {
				t.Errorf("%s: a signal: %v", id, err)
			}
			state, err := n.client.Get(n.ctx(), id)
			if err != nil {
				t.Fatal(err)
			}
			if err := n.client.Delete(n.ctx(), id, true); err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			cg, err := cgroup.New(state.CgroupPath)
			if err != nil || cg.Exists() {
				t.Errorf("%s: its cgroup %q is left, %v", id, state.CgroupPath, err)
			}
			if _, err := os.Stat(filepath.Join(n.opts.Dir, "oci", id)); !os.IsNotExist(err) {
				t.Errorf("%s: its state is left: %v", id, err)
			}
		}
	}
}
