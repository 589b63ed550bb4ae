// Package seeds holds the examples of the documents that describe the system,
// as tests: what they say of containers, pods, Deployments and Services must be
// true of skiff.
package seeds

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.skiff.dev/skiff/internal/anatomy"
	"go.skiff.dev/skiff/test/e2e/cluster"
)

//go:embed pods.yaml
var pods string

func TestPod(t *testing.T) {
	c := cluster.Start(t)
	c.ImportDebian("seeds/nginx:1", "nginx")
	c.ImportDebian("seeds/busybox:1", "busybox")
	c.Apply(pods)
	c.WaitFor("condition=Ready", "pod/ghost")

	t.Run("nginx proxies to the second container over 127.0.0.1", func(t *testing.T) {
		ip := field(c, "pod/ghost", ".status.podIP")
		if body := get(t, "http://"+ip+"/"); body != "from ghost\n" {
			t.Errorf("nginx answered %q", body)
		}
	})
	t.Run("namespaces are shared and separate as drawn", func(t *testing.T) { namespaces(t, c) })
	t.Run("exec goes to the named container or to the default one", func(t *testing.T) { execution(t, c) })
	t.Run("a killed container restarts, the pod's address and network stay", func(t *testing.T) { restart(t, c) })
	t.Run("a third container on the same port fails with the reason", func(t *testing.T) { crowded(t, c) })
}

// inside reads the namespaces and the hostname that a container sees itself.
func inside(c *cluster.Cluster, container string) map[string]string {
	seen := map[string]string{"hostname": strings.TrimSpace(c.Kubectl("exec", "ghost", "-c", container, "--", "cat", "/proc/sys/kernel/hostname"))}
	for _, kind := range []string{"net", "ipc", "uts", "pid", "mnt", "cgroup"} {
		seen[kind] = strings.TrimSpace(c.Kubectl("exec", "ghost", "-c", container, "--", "readlink", "/proc/1/ns/"+kind))
	}
	return seen
}

func namespaces(t *testing.T, c *cluster.Cluster) {
	nginx, app := inside(c, "nginx"), inside(c, "app")
	for _, shared := range []string{"net", "ipc", "uts", "hostname"} {
		if nginx[shared] != app[shared] || nginx[shared] == "" {
			t.Errorf("%s: nginx has %q, app has %q; they must be the same", shared, nginx[shared], app[shared])
		}
	}
	for _, own := range []string{"pid", "mnt", "cgroup"} {
		if nginx[own] == app[own] {
			t.Errorf("%s: both have %q; they must differ", own, nginx[own])
		}
	}
	if nginx["hostname"] != "ghost" {
		t.Errorf("the hostname is %q, not the pod's name", nginx["hostname"])
	}
	pod := picture(t, c)
	for _, kind := range []string{"net", "ipc", "uts"} {
		want := fmt.Sprintf("%s:[%d]", kind, pod.Namespaces[kind].Inode)
		if nginx[kind] != want || pod.Namespaces[kind].HeldBy != "pause" {
			t.Errorf("%s: the container sees %s, the anatomy says %s held by %s", kind, nginx[kind], want, pod.Namespaces[kind].HeldBy)
		}
	}
	if pod.Hostname != "ghost" || len(pod.Containers) != 2 || pod.Pause.PID == 0 {
		t.Errorf("anatomy: %+v", pod)
	}
	if pod.Network.Host.Peer != pod.Network.Pod.Index || pod.Network.Pod.Peer != pod.Network.Host.Index || pod.Network.Pod.Name == "" {
		t.Errorf("the ends of the link do not meet: %+v", pod.Network)
	}
}

func picture(t *testing.T, c *cluster.Cluster) anatomy.Pod {
	t.Helper()
	var pod anatomy.Pod
	if err := json.Unmarshal([]byte(c.Skiff("anatomy", "pod/ghost", "-o", "json")), &pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

func execution(t *testing.T, c *cluster.Cluster) {
	if out := c.Kubectl("exec", "ghost", "-c", "nginx", "--", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '"); !strings.HasPrefix(out, "nginx") {
		t.Errorf("exec -c nginx reached %q", out)
	}
	if out := c.Kubectl("exec", "ghost", "--", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '"); !strings.HasPrefix(out, "httpd") {
		t.Errorf("exec without a container reached %q, not the default one", out)
	}
}

func restart(t *testing.T, c *cluster.Cluster) {
	before, ip := picture(t, c), field(c, "pod/ghost", ".status.podIP")
	var pid int
	for _, part := range before.Containers {
		if part.Name == "app" {
			pid = part.PID
		}
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("killing the app container's process %d: %v", pid, err)
	}
	const restarts = `.status.containerStatuses[?(@.name=="app")]`
	c.WaitFor(`jsonpath={`+restarts+`.restartCount}=1`, "pod/ghost")
	c.WaitFor("condition=Ready", "pod/ghost")
	if code := field(c, "pod/ghost", restarts+".lastState.terminated.exitCode"); code != "137" {
		t.Errorf("the killed container's exit code is %s, want 137", code)
	}
	after := picture(t, c)
	if after.Namespaces["net"].Inode != before.Namespaces["net"].Inode || after.Pause.PID != before.Pause.PID {
		t.Errorf("the network namespace or pause changed: %+v, %+v", before.Namespaces, after.Namespaces)
	}
	if now := field(c, "pod/ghost", ".status.podIP"); now != ip {
		t.Errorf("the address changed from %s to %s", ip, now)
	}
	if body := get(t, "http://"+ip+"/"); body != "from ghost\n" {
		t.Errorf("after the restart nginx answered %q", body)
	}
}

func crowded(t *testing.T, c *cluster.Cluster) {
	const third = `.status.containerStatuses[?(@.name=="third")]`
	cluster.Until(t, func() error {
		if code := field(c, "pod/crowded", third+".lastState.terminated.exitCode"); code != "1" {
			return fmt.Errorf("the third container's last exit code is %q", code)
		}
		return nil
	})
	log := c.Kubectl("logs", "crowded", "-c", "third", "--previous")
	if !strings.Contains(log, "Address already in use") {
		t.Errorf("the third container's log says %q", log)
	}
	if reason := field(c, "pod/crowded", third+".lastState.terminated.reason"); reason != "Error" {
		t.Errorf("the third container's reason is %q", reason)
	}
}

// field reads one field of an object by JSONPath.
func field(c *cluster.Cluster, what, path string) string {
	return c.Kubectl("get", what, "-o", "jsonpath={"+path+"}")
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
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
