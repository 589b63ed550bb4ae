package container

import (
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestPauseReapsZombies leaves a hundred orphans to the pause of a pod that
// shares its pid namespace, and counts what stays of them.
func TestPauseReapsZombies(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	})
	id := n.run(box, config, "app", nil, "sh", "-c", "for i in $(seq 100); do (sleep 0.05 &); done; echo left; exec sleep 1000")
	n.untilLogged(id, "left")
	if out, _ := n.exec(id, "sh", "-c", "cat /proc/1/comm; readlink /proc/1/ns/pid"); !strings.HasPrefix(out, "pause") {
		t.Errorf("pid 1 of the pod is %q", out)
	}
	// The ends of others' children announce themselves to nobody here.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // see above
		out, _ := n.exec(id, "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null | grep sleep")
		zombies, asleep := strings.Count(out, "(sleep) Z"), strings.Count(out, "(sleep) S")
		if zombies == 0 && asleep == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d zombies, %d processes:\n%s", zombies, asleep, out)
		}
	}
}
