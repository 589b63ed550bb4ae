// Package life follows a pod through its whole life on a machine that has
// cgroup v2 only. The virtual machine of test/vm runs it; it runs as well on
// any host of that kind.
package life

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.skiff.dev/skiff/internal/anatomy"
	"go.skiff.dev/skiff/test/e2e/cluster"
)

const unified = "/sys/fs/cgroup"

func TestLife(t *testing.T) {
	if _, err := os.Stat(unified + "/cgroup.controllers"); err != nil {
		t.Skip("cgroup v2 is not mounted on " + unified)
	}
	before, enabled := cluster.Snapshot(t), file(t, unified, "cgroup.subtree_control")
	t.Run("cluster", func(t *testing.T) {
		c := cluster.Start(t)
		c.ImportDebian("vm/busybox:1", "busybox")
		c.Kubectl("apply", "-f", filepath.Join(cluster.Root(), "examples/hello"))
		c.Apply(pods)
		c.Kubectl("rollout", "status", "deployment/hello", "--timeout=600s")
		t.Run("the Service answers by its cluster address", func(t *testing.T) { service(t, c) })
		t.Run("exec and logs reach the container", func(t *testing.T) { streams(t, c) })
		t.Run("limits are the kernel's", func(t *testing.T) { limits(t, c) })
		t.Run("a container over its memory limit is OOMKilled", func(t *testing.T) { outOfMemory(t, c) })
		t.Run("a killed daemon finds its containers again", func(t *testing.T) { killed(t, c) })
	})
	cluster.Snapshot(t).Compare(t, before)
	if now := file(t, unified, "cgroup.subtree_control"); now != enabled {
		t.Logf("controllers enabled below the root cgroup: before %q, after %q", enabled, now)
	}
}

// pods are one with limits and one that takes more memory than it may.
const pods = `
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: vm/busybox:1
    command: ["sh", "-c", "echo here; exec sleep 1000000"]
    resources:
      requests: {cpu: 100m, memory: 32Mi}
      limits: {cpu: 500m, memory: 64Mi}
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: vm/busybox:1
    # The child takes the memory, the shell does not end on its own.
    command: ["sh", "-c", "tail /dev/zero; sleep 1000000"]
    resources: {limits: {memory: 16Mi}}
`

func service(t *testing.T, c *cluster.Cluster) {
	url := "http://" + c.Kubectl("get", "service/hello", "-o", "jsonpath={.spec.clusterIP}") + "/"
	for range 5 {
		if body := get(t, url); !strings.Contains(body, "hello-") {
			t.Errorf("%s answered %q", url, body)
		}
	}
	out := c.Kubectl("exec", "deployment/hello", "--", "/hello", "get", "http://hello.default.svc.cluster.local/")
	if !strings.Contains(out, "hello-") {
		t.Errorf("by its name, from a pod: %q", out)
	}
	port := c.Kubectl("get", "service/hello", "-o", "jsonpath={.spec.ports[0].nodePort}")
	if body := get(t, "http://127.0.0.1:"+port+"/"); !strings.Contains(body, "hello-") {
		t.Errorf("by the node's port: %q", body)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %s, %v: %s", url, response.Status, err, body)
	}
	return string(body)
}

func streams(t *testing.T, c *cluster.Cluster) {
	c.WaitFor("condition=Ready", "pod/limited")
	if log := c.Kubectl("logs", "limited"); log != "here\n" {
		t.Errorf("the log says %q", log)
	}
	// The container's root is its own cgroup, read-only, and that is all it sees.
	out := c.Kubectl("exec", "limited", "--", "sh", "-c",
		"cat /proc/self/cgroup /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max; mkdir /sys/fs/cgroup/x 2>&1; true")
	want := "0::/\n50000 100000\n67108864\nmkdir: can't create directory '/sys/fs/cgroup/x': Read-only file system\n"
	if out != want {
		t.Errorf("the container sees\n%s\nwant\n%s", out, want)
	}
}

// picture is the anatomy of a pod.
func picture(t *testing.T, c *cluster.Cluster, pod string) anatomy.Pod {
	t.Helper()
	var p anatomy.Pod
	if err := json.Unmarshal([]byte(c.Skiff("anatomy", "pod/"+pod, "-o", "json")), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func limits(t *testing.T, c *cluster.Cluster) {
	p := picture(t, c, "limited")
	container := p.Containers[0].Cgroup
	for what, g := range map[string]anatomy.Cgroup{"pod": p.Cgroup, "container": container} {
		if g.Version != 2 || g.CPU.LimitMilli != 500 || g.Memory.Limit != 64<<20 || g.Memory.Used <= 0 {
			t.Errorf("the %s's cgroup: %+v", what, g)
		}
		for name, want := range map[string]string{
			"cpu.max": "50000 100000", "memory.max": "67108864", "cpu.weight": fmt.Sprint(g.CPU.Weight), "memory.swap.max": "0",
		} {
			if what == "pod" && name == "memory.swap.max" {
				continue // the kubelet sets swap for containers only
			}
			if now := file(t, filepath.Join(unified, g.Path), name); now != want {
				t.Errorf("the %s's %s is %q, want %q", what, name, now, want)
			}
		}
	}
	if now := file(t, filepath.Join(unified, container.Path), "memory.oom.group"); now != "1" {
		t.Errorf("the container's memory.oom.group is %q, want 1", now)
	}
	if !strings.HasPrefix(container.Path, p.Cgroup.Path+"/") {
		t.Errorf("the container's cgroup %s is not in the pod's, %s", container.Path, p.Cgroup.Path)
	}
}

func file(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(data))
}

func outOfMemory(t *testing.T, c *cluster.Cluster) {
	c.WaitFor("jsonpath={.status.phase}=Failed", "pod/greedy")
	out := c.Kubectl("get", "pod/greedy", "-o", "jsonpath={.status.containerStatuses[0].state.terminated['reason','exitCode']}")
	if out != "OOMKilled 137" {
		t.Errorf("the container ended with %q, want OOMKilled 137", out)
	}
}

func killed(t *testing.T, c *cluster.Cluster) {
	before := picture(t, c, "limited")
	if err := syscall.Kill(c.Status().Daemon.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.Up()
	after := picture(t, c, "limited")
	if after.Pause.PID != before.Pause.PID || after.Containers[0].PID != before.Containers[0].PID {
		t.Errorf("before: pause %d, container %d; after: pause %d, container %d",
			before.Pause.PID, before.Containers[0].PID, after.Pause.PID, after.Containers[0].PID)
	}
	if n := c.Kubectl("get", "pod/limited", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); n != "0" {
		t.Errorf("the container was restarted %s times", n)
	}
	service(t, c)
}
