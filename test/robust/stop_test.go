package robust

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// pair are a pod that counts up and one that ends with code 3 when it is told to.
const pair = `
apiVersion: v1
kind: Pod
metadata: {name: count}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: count
    image: robust/busybox:1
    command: ["sh", "-c", "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.01; done"]
---
apiVersion: v1
kind: Pod
metadata: {name: mortal}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: robust/busybox:1
    command: ["sh", "-c", "trap 'exit 3' TERM; touch /tmp/up; while true; do sleep 0.1; done"]
    readinessProbe: {exec: {command: [ls, /tmp/up]}, periodSeconds: 1, timeoutSeconds: 10}
`

// TestStoppedDaemon stops skiff as a debugger does: containers run, end and are logged meanwhile.
func TestStoppedDaemon(t *testing.T) {
	c := cluster.Start(t)
	c.ImportDebian("robust/busybox:1", "busybox")
	c.Apply(pair)
	c.WaitFor("condition=Ready", "pod/count", "pod/mortal")
	before := facts(t, c)
	logs, err := filepath.Glob(c.Dir + "/logs/default_count_*/count/0.log")
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	daemon := c.Status().Daemon.PID
	t.Cleanup(func() { _ = syscall.Kill(daemon, syscall.SIGCONT) })
	if err := syscall.Kill(daemon, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before["mortal"].pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	gone(t, before["mortal"].pid)
	lines := func() int {
		text, err := os.ReadFile(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte("\n"))
	}
	first := lines()
	cluster.Until(t, func() error {
		if now := lines(); now < first+100 {
			return fmt.Errorf("%d lines are logged, %d at the beginning", now, first)
		}
		return nil
	})
	if err := syscall.Kill(daemon, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.WaitFor("jsonpath={.status.phase}=Failed", "pod/mortal")
	if code := c.Kubectl("get", "pod/mortal", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}"); code != "3" {
		t.Errorf("exit code %s, want 3", code)
	}
	if after := facts(t, c)["count"]; after != before["count"] {
		t.Errorf("before %+v, after %+v", before["count"], after)
	}
	checkLog(t, "count", c.Kubectl("logs", "count"))
}
