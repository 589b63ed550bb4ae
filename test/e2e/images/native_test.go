package images

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

// TestOnOverlay runs skiff where its files lie on an overlay, as they do in a
// container: overlayfs refuses to write to one, so containers get copies.
func TestOnOverlay(t *testing.T) {
	merged := kerneltest.Overlay(t)
	t.Setenv("TMPDIR", merged)
	c := cluster.New(t)
	if out, err := c.Try("up", "--detach", fmt.Sprint("--api-port=", c.APIPort), "--log-dir="+c.Dir+"/logs", "--snapshotter=overlayfs"); err == nil || !strings.Contains(out, "trying overlayfs") {
		t.Errorf("with overlayfs wanted: %v\n%s", err, out)
	}
	if out := c.Up(); !strings.Contains(out, "overlayfs does not work in "+c.Dir) {
		t.Errorf("skiff up says\n%s", out)
	}
	var status struct {
		Roots struct{ Snapshotter, Reason string }
	}
	if err := json.Unmarshal([]byte(c.Skiff("status", "-o", "json")), &status); err != nil || status.Roots.Snapshotter != "native" || status.Roots.Reason == "" {
		t.Errorf("status %+v, %v", status, err)
	}
	busybox, err := testimage.Busybox("images/busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	c.Import(busybox)
	c.Apply(pair)
	c.WaitFor("condition=Ready", "pod/pair")
	c.Kubectl("exec", "pair", "-c", "a", "--", "sh", "-c", "echo mine > /bin/new; rm /bin/busybox")
	if out := c.Kubectl("exec", "pair", "-c", "b", "--", "ls", "/bin/busybox"); out != "/bin/busybox\n" {
		t.Errorf("the other container sees %q", out)
	}
	c.Kubectl("delete", "pod/pair", "--now")
	cluster.Until(t, func() error { // a pod is gone before its last files are
		left, err := os.ReadDir(filepath.Join(c.Dir, "data/containers/containers"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left of the containers: %v", left)
		}
		return err
	})
	c.Skiff("image", "rm", "images/busybox:1")
}

const pair = `
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: "images/busybox:1", command: ["sleep", "1000000"]}
  - {name: b, image: "images/busybox:1", command: ["sleep", "1000000"]}
`
