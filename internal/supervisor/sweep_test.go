package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// nothingLeft waits until the directories of the supervisor have nothing of a container, nor the kernel its cgroup.
func (n *node) nothingLeft(id string) {
	n.t.Helper()
	group, err := cgroup.New(n.cgroup + "/" + id)
	if err != nil {
		n.t.Fatal(err)
	}
	n.eventually(func() bool {
		for _, pattern := range []string{"oci/" + id, "foreign/" + id, "containers/" + id + ".*"} {
			if found, _ := filepath.Glob(filepath.Join(n.opts.Dir, pattern)); len(found) > 0 {
				return false
			}
		}
		return !group.Exists()
	})
}

// restart kills the supervisor, lets f change what it left, and starts another.
func (n *node) restart(f func()) {
	n.t.Helper()
	info, err := n.client.Info(n.ctx())
	if err != nil {
		n.t.Fatal(err)
	}
	kill(n.t, info.PID)
	f()
	if n.client, err = Connect(n.ctx(), n.opts); err != nil {
		n.t.Fatal(err)
	}
}

// TestUnfinishedIsSwept lays down what a supervisor leaves that is killed at each point of a create before the first record
// (package oci has the test that stops there), and starts another.
func TestUnfinishedIsSwept(t *testing.T) {
	n := newNode(t)
	n.run("good", nil, "sleep", "1000")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	file := func(path, text string) {
		t.Helper()
		path = filepath.Join(n.opts.Dir, path)
		must(os.MkdirAll(filepath.Dir(path), 0o700))
		must(os.WriteFile(path, []byte(text), 0o600))
	}
	spec := func(id string) string {
		data, err := json.Marshal(n.spec(id, "true"))
		must(err)
		return string(data)
	}
	n.restart(func() {
		file("containers/pipes.pipes/stdout", "")
		file("oci/directory/config.json", spec("directory")[:20])
		for _, id := range []string{"cgroup", "torn"} {
			file("oci/"+id+"/config.json", spec(id))
			must(os.Symlink(n.cgroup+"/"+id, filepath.Join(n.opts.Dir, "oci", id, "cgroup")))
			group, err := cgroup.New(n.cgroup + "/" + id)
			must(err)
			must(group.Create())
		}
		file("oci/cgroup/start.sock", "")
		file("oci/cgroup/.tmp-state.json", "{")
		file("containers/cgroup.pipes/stdout", "")
		file("containers/torn.json", "{")
		file("foreign/bundle/config.json", spec("bundle"))
		file("containers/bundle.pipes/stdin", "")
	})
	for _, id := range []string{"pipes", "directory", "cgroup", "torn", "bundle"} {
		n.nothingLeft(id)
		n.eventually(func() bool { // the id is free again
			c, err := n.client.Create(n.ctx(), CreateRequest{ID: id, Spec: n.spec(id, "true"), Start: true})
			if err != nil && !errors.Is(err, ErrExists) {
				t.Fatal(err)
			}
			return err == nil && n.client.Delete(n.ctx(), c.ID, true) == nil
		})
	}
	if out, code := n.execOutput("good", "echo", "x"); out != "x\n" || code != 0 {
		t.Errorf("the other container: %q %d", out, code)
	}
}

// TestForeignCreateOfAKilledSupervisor kills the supervisor while another runtime is at a create: what that had begun ends,
// and is removed, and it does not go on behind the one who removes it.
func TestForeignCreateOfAKilledSupervisor(t *testing.T) {
	n := newNode(t)
	program, told := filepath.Join(n.dir, "slow"), filepath.Join(n.dir, "told")
	if err := os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\ncase \"$*\" in *create*) echo $$ > %[1]s.new; mv %[1]s.new %[1]s; exec sleep 1000;; esac\n", told), 0o755); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() {
		_, err := n.client.Create(n.ctx(), CreateRequest{ID: "a", Spec: n.spec("a", "true"), Runtime: program})
		answer <- err
	}()
	var pid int
	n.eventually(func() bool { return readJSON(told, &pid) == nil })
	process, err := pidfd.Open(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	n.restart(func() {
		if err := <-answer; err == nil {
			t.Error("the create was answered")
		}
		if !pidfd.Alive(process) {
			t.Error("the runtime ended with the supervisor: this test proves nothing")
		}
	})
	n.nothingLeft("a")
	n.eventually(func() bool { return !pidfd.Alive(process) })
}
