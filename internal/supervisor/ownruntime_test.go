package supervisor

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/oci"
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

// TestCreatedSharesNoDescriptor: what is kept of a container that waits for its start does not use the entry's pidfd, which
// is closed before the rest is removed. Through a closed one init seems to live, and its end would be waited for.
func TestCreatedSharesNoDescriptor(t *testing.T) {
	n := newNode(t)
	s, err := newServer(filepath.Join(n.dir, "other.sock"), filepath.Join(n.dir, "other"), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	s.runPollers()
	defer func() { s.exits.stop(); s.outs.poll.stop() }()
	spec, err := json.Marshal(n.spec("a", "true"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.create(&createMessage{CreateRequest: CreateRequest{ID: "a"}, Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	if c, heavy := e.runc.(*oci.Container); heavy && c.Init.PIDFD == e.pidfd {
		t.Error("the pidfd is shared")
	}
	if err := s.start(e); err != nil {
		t.Error(err)
	}
	if err := s.delete(e, true); err != nil {
		t.Error(err)
	}
	if s.known("a") {
		t.Error("the container is still known")
	}
}
