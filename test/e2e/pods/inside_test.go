package pods

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/testimage"
)

func messages(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "messages", "testdata/messages.yaml")
	for _, name := range []string{"default-path", "own-path-as-user", "fallback-on-error", "fallback-but-success", "fallback-but-file"} {
		t.Run(name, func(t *testing.T) {
			pod := s.For(t).Ended(name)
			if got := cluster.Exit(pod, "c").Message; got != pod.Annotations["message"] {
				t.Errorf("message %q, want %q", got, pod.Annotations["message"])
			}
		})
	}
}

func environment(t *testing.T, c *cluster.Cluster) {
	c.Space(t, "environment", "testdata/environment.yaml").Wanted(t)
}

// commands packs an image with an entry point, arguments, a directory and
// variables of its own, and one with a user.
func commands(t *testing.T, c *cluster.Cluster) {
	image, err := testimage.Busybox("e2e/entry:1")
	if err != nil {
		t.Fatal(err)
	}
	image.Config.Entrypoint, image.Config.Cmd = []string{"/bin/echo", "entry"}, []string{"cmd"}
	image.Config.WorkingDir = "/srv/www"
	image.Config.Env = append(image.Config.Env, "FROM_IMAGE=image-env")
	c.Import(image)
	importAs(t, c, "e2e/user:1", "1234")
	c.Space(t, "commands", "testdata/commands.yaml").Wanted(t)
}

// importAs imports busybox as an image whose configuration names a user.
func importAs(t *testing.T, c *cluster.Cluster, name, user string) {
	t.Helper()
	image, err := testimage.Busybox(name)
	if err != nil {
		t.Fatal(err)
	}
	image.Config.User = user
	c.Import(image)
}

func security(t *testing.T, c *cluster.Cluster) {
	importAs(t, c, "e2e/user:1", "1234")
	importAs(t, c, "e2e/nobody:1", "nobody")
	s := c.Space(t, "security", "testdata/security.yaml")
	s.Wanted(t)
	t.Run("unsafe sysctls are refused", func(t *testing.T) {
		pod := s.For(t).Ended("unsafe-sysctl")
		if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "SysctlForbidden" {
			t.Errorf("%s %s: %s", pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
		}
	})
}

func namespaces(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "namespaces", "testdata/namespaces.yaml")
	s.Wanted(t)
	t.Run("host ipc", func(t *testing.T) {
		s := s.For(t)
		pod := s.Ready("host-ipc")
		own, err := os.Readlink("/proc/self/ns/ipc")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(s.Exec(pod.Name, "c", "readlink", "/proc/self/ns/ipc")); got != own {
			t.Errorf("the pod's ipc namespace is %s, the host's %s", got, own)
		}
	})
	t.Run("shared pid", func(t *testing.T) {
		s := s.For(t)
		s.Ready("shared-pid")
		if first := s.Exec("shared-pid", "c", "cat", "/proc/1/comm"); strings.TrimSpace(first) == "sleep" || strings.TrimSpace(first) == "sh" {
			t.Errorf("process 1 is %q, not pause", first)
		}
		if all := s.Exec("shared-pid", "c", "ps", "-o", "args"); !strings.Contains(all, "sleep 2000") {
			t.Errorf("a container does not see the other's processes:\n%s", all)
		}
		cluster.Until(t, func() error {
			if all := s.Exec("shared-pid", "c", "ps", "-o", "stat,args"); strings.Contains(all, "\nZ") {
				return fmt.Errorf("pause left zombies:\n%s", all)
			}
			return nil
		})
	})
}

func names(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "names", "testdata/names.yaml")
	s.Wanted(t)
	t.Run("dns-default", func(t *testing.T) {
		got := s.For(t).Succeeded("dns-default")
		if strings.Contains(got, "cluster.local") || !strings.Contains(got, "nameserver") {
			t.Errorf("resolv.conf:\n%s", got)
		}
	})
}

func resources(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "resources", "testdata/resources.yaml")
	for name, class := range map[string]corev1.PodQOSClass{
		"guaranteed": corev1.PodQOSGuaranteed, "burstable": corev1.PodQOSBurstable, "besteffort": corev1.PodQOSBestEffort,
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.For(t).Ready(name).Status.QOSClass; got != class {
				t.Errorf("class %s, want %s", got, class)
			}
		})
	}
	t.Run("cgroup", func(t *testing.T) { limits(t, s.For(t)) })
}

// limits reads a container's limits as it sees them itself.
func limits(t *testing.T, s *cluster.Space) {
	for name, want := range map[string]map[string]string{
		"guaranteed": {"cpu.cfs_quota_us": "25000", "cpu.cfs_period_us": "100000", "cpu.shares": "256", "memory.limit_in_bytes": "67108864",
			"cpu.max": "25000 100000", "memory.max": "67108864"},
		"burstable":  {"cpu.cfs_quota_us": "-1", "cpu.shares": "102", "memory.limit_in_bytes": "33554432", "cpu.max": "max 100000", "memory.max": "33554432"},
		"besteffort": {"cpu.cfs_quota_us": "-1", "cpu.shares": "2", "cpu.max": "max 100000", "memory.max": "max"},
	} {
		s.Ready(name)
		found := 0
		for file, value := range want {
			out, err := s.TryExec(name, "c", "sh", "-c", "cat /sys/fs/cgroup/"+file+" 2>/dev/null || cat /sys/fs/cgroup/*/"+file)
			if err != nil {
				continue // a file of the other cgroup version
			}
			found++
			if got := strings.TrimSpace(out); got != value {
				t.Errorf("%s: %s is %q, want %q", name, file, got, value)
			}
		}
		if found < 2 {
			t.Errorf("%s sees only %d of its cgroup's files", name, found)
		}
	}
}

func static(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "static")
	dir := filepath.Join(c.Dir, "static-pods")
	node := c.Status().Node.Name
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	manifest := func(version string) {
		t.Helper()
		body := fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: fixed, namespace: static, labels: {version: %q}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: "e2e/busybox:1", command: [sleep, "1000"]}]
`, version)
		if err := os.WriteFile(filepath.Join(dir, ".fixed.new"), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, ".fixed.new"), filepath.Join(dir, "fixed.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	manifest("1")
	name := "fixed-" + node
	first := s.Ready(name)
	if first.Annotations["kubernetes.io/config.mirror"] == "" || first.Annotations["kubernetes.io/config.source"] != "file" {
		t.Errorf("annotations %v", first.Annotations)
	}
	if len(first.OwnerReferences) != 1 || first.OwnerReferences[0].Kind != "Node" {
		t.Errorf("owners %+v", first.OwnerReferences)
	}
	s.Kubectl("delete", "pod", name, "--grace-period=0", "--force")
	again := s.When(name, "made anew", func(p *corev1.Pod) bool { return p.UID != first.UID && cluster.IsReady(p) })
	if cluster.Container(again, "c").ContainerID != cluster.Container(first, "c").ContainerID {
		t.Error("deleting the mirror touched the container")
	}
	manifest("2")
	s.When(name, "changed", func(p *corev1.Pod) bool { return p.Labels["version"] == "2" && cluster.IsReady(p) })
	if err := os.Remove(filepath.Join(dir, "fixed.yaml")); err != nil {
		t.Fatal(err)
	}
	s.Gone(name)
}
