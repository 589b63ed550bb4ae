package cri

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

const classes = `
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: foreign}
handler: crun
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: unknown}
handler: nobody
---
apiVersion: v1
kind: Pod
metadata: {name: foreign}
spec:
  runtimeClassName: foreign
  terminationGracePeriodSeconds: 5
  containers:
  - name: main
    image: e2e/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; echo started by $(hostname); touch /tmp/up; while :; do sleep 0.1; done"]
    readinessProbe: {exec: {command: [ls, /tmp/up]}, periodSeconds: 1, timeoutSeconds: 10}
---
apiVersion: v1
kind: Pod
metadata: {name: unknown}
spec:
  runtimeClassName: unknown
  containers: [{name: main, image: "e2e/busybox:1", command: [sleep, "1000"]}]
`

// runtimeClass runs a pod of the API with Debian's crun.
func runtimeClass(t *testing.T, c *client) {
	if _, err := os.Stat("/usr/bin/crun"); err != nil {
		t.Skip("no crun (Debian: crun)")
	}
	c.c.Apply(classes)
	c.c.WaitFor("condition=Ready", "pod/foreign")
	if out := c.c.Kubectl("exec", "foreign", "--", "hostname"); out != "foreign\n" {
		t.Errorf("exec: %q", out)
	}
	// The log is written beside the container.
	cluster.Until(t, func() error {
		if out := c.c.Kubectl("logs", "foreign"); out != "started by foreign\n" {
			return fmt.Errorf("log: %q", out)
		}
		return nil
	})
	bundles, err := os.ReadDir(filepath.Join(c.c.Dir, "run/supervisor/foreign"))
	if err != nil || len(bundles) != 1 {
		t.Fatalf("%v, %v", bundles, err)
	}
	list, err := c.ListPodSandbox(c.ctx(), &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"io.kubernetes.pod.name": "foreign"}}})
	if err != nil || len(list.GetItems()) != 1 || list.GetItems()[0].GetRuntimeHandler() != "crun" {
		t.Errorf("%v, %v", list, err)
	}
	if out := c.c.Kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.runtimeHandlers[*].name}"); !strings.Contains(out, "crun") {
		t.Errorf("the node's handlers: %q", out)
	}
	if out := c.c.Kubectl("get", "runtimeclass", "foreign", "--no-headers"); !strings.Contains(out, "crun") {
		t.Errorf("table: %q", out)
	}
	c.c.Kubectl("delete", "pod", "foreign", "--timeout=30s")
	if left, _ := os.ReadDir(filepath.Join(c.c.Dir, "run/supervisor/foreign")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	cluster.Until(t, func() error {
		out := c.c.Kubectl("get", "events", "--field-selector=involvedObject.name=unknown,reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(out, `no runtime for "nobody" is configured`) {
			return fmt.Errorf("event: %q", out)
		}
		return nil
	})
	c.c.Kubectl("delete", "pod", "unknown", "--timeout=30s")
}
