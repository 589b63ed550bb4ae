// Package robust kills, cuts and fills what a running skiff stands on, and
// checks that nothing acknowledged is lost and that containers go on.
package robust

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.skiff.dev/skiff/internal/anatomy"
	"go.skiff.dev/skiff/test/e2e/cluster"
)

// many pods run while the daemon is killed.
const many = 50

// manifest is a Deployment of pods that count up in their log, and one pod that
// ends with code 3 when it is told to.
const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 50
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: count
        image: robust/busybox:1
        command: ["sh", "-c", "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.1; done"]
---
apiVersion: v1
kind: Pod
metadata: {name: mortal}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: robust/busybox:1
    command: ["sh", "-c", "trap 'exit 3' TERM; touch /tmp/up; while true; do sleep 0.1; done"]
    readinessProbe: {exec: {command: [ls, /tmp/up]}, periodSeconds: 1, timeoutSeconds: 10}
`

func TestKilledDaemonLosesNothing(t *testing.T) {
	c := cluster.Start(t)
	c.ImportDebian("robust/busybox:1", "busybox")
	c.Apply(manifest)
	c.Kubectl("rollout", "status", "deployment/many", "--timeout=120s")
	c.WaitFor("condition=Ready", "pod/mortal")
	before := facts(t, c)
	if len(before) != many+1 {
		t.Fatalf("%d pods run, want %d", len(before), many+1)
	}
	mortal := before["mortal"].pid

	daemon := c.Status().Daemon.PID
	if err := syscall.Kill(daemon, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// While nobody watches, one container ends with a code of its own.
	if err := syscall.Kill(mortal, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	gone(t, mortal)
	c.Up()
	c.Kubectl("rollout", "status", "deployment/many", "--timeout=60s")

	t.Run("a container that died meanwhile has its true exit code", func(t *testing.T) {
		c.WaitFor("jsonpath={.status.phase}=Failed", "pod/mortal")
		code := c.Kubectl("get", "pod/mortal", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}")
		if code != "3" {
			t.Errorf("exit code %s, want 3", code)
		}
	})
	t.Run("every container still runs with the same pid and restart count", func(t *testing.T) {
		after := facts(t, c)
		delete(before, "mortal")
		for name, b := range before {
			if a := after[name]; a != b {
				t.Errorf("%s: before %+v, after %+v", name, b, a)
			}
		}
	})
	t.Run("logs have no hole", func(t *testing.T) {
		for name := range before {
			checkLog(t, name, c.Kubectl("logs", name))
		}
	})
}

// fact is what must not change.
type fact struct {
	pid      int
	restarts string
	ip       string
}

// facts reads the pid, restart count and address of every pod.
func facts(t *testing.T, c *cluster.Cluster) map[string]fact {
	t.Helper()
	out := c.Kubectl("get", "pods", "-o", `jsonpath={range .items[?(@.status.phase=="Running")]}{.metadata.name} {.status.containerStatuses[0].restartCount} {.status.podIP}{"\n"}{end}`)
	found := map[string]fact{}
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		fields := strings.Fields(line)
		var pod anatomy.Pod
		if err := json.Unmarshal([]byte(c.Skiff("anatomy", "pod/"+fields[0], "-o", "json")), &pod); err != nil {
			t.Fatal(err)
		}
		found[fields[0]] = fact{pid: pod.Containers[0].PID, restarts: fields[1], ip: fields[2]}
	}
	return found
}

// gone waits until a process has ended; its parent is not this test.
func gone(t *testing.T, pid int) {
	t.Helper()
	cluster.Until(t, func() error {
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("process %d still runs", pid)
		}
		return nil
	})
}

var counted = regexp.MustCompile(`line (\d+)`)

// checkLog checks that the lines count up by one from 0.
func checkLog(t *testing.T, pod, log string) {
	t.Helper()
	matches := counted.FindAllStringSubmatch(log, -1)
	var numbers []int
	for _, m := range matches {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) < 10 || numbers[0] != 0 {
		t.Errorf("%s: the log has %d lines", pod, len(numbers))
		return
	}
	for i, n := range numbers {
		if n != i {
			t.Errorf("%s: line %d says %d; around it %v", pod, i, n, slices.Clip(numbers[max(0, i-2):min(len(numbers), i+3)]))
			return
		}
	}
}
