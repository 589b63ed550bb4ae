package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tryUsers runs pods in user namespaces: each has a range of its own, its files are its own, and the range is free when
// the pod is gone.
func tryUsers(t *testing.T, c *testCluster) {
	if _, err := c.client.CoreV1().ConfigMaps("default").Create(t.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "users"}, Data: map[string]string{"f": "from-map"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	host := t.TempDir()
	script := `set -e
		test $(id -u) = 0
		test "$(cat /map/f)" = from-map
		test -s /var/run/secrets/kubernetes.io/serviceaccount/token
		test $(stat -c %u /var/run/secrets/kubernetes.io/serviceaccount/token) = 0
		echo x > /empty/x; echo x > /memory/x; echo x > /host/x; echo x > /own
		test "$(stat -c %u%g /empty/x /memory/x /host/x /own /bin/sh | sort -u)" = 00
		grep -q users /etc/hosts
		set -- $(cat /proc/self/uid_map)
		echo $2 $3 > /dev/termination-log`
	no := false
	for _, name := range []string{"users-a", "users-b"} {
		c.pod(name, script, func(p *v1.Pod) {
			never(p)
			p.Spec.HostUsers = &no
			p.Spec.Volumes = []v1.Volume{
				{Name: "map", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "users"}}}},
				{Name: "empty", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}},
				{Name: "memory", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{Medium: v1.StorageMediumMemory}}},
				{Name: "host", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: host}}},
			}
			for _, v := range []string{"map", "empty", "memory", "host"} {
				p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, v1.VolumeMount{Name: v, MountPath: "/" + v})
			}
		})
	}
	ranges := map[string]bool{}
	for _, name := range []string{"users-a", "users-b"} {
		p := c.await(name, "done", func(p *v1.Pod) bool { return mainStatus(p).State.Terminated != nil })
		s := mainStatus(p).State.Terminated
		var first, length uint32
		if _, err := fmt.Sscan(s.Message, &first, &length); s.ExitCode != 0 || err != nil || first < firstUser || length != usersOfPod {
			t.Errorf("pod %s: %+v", name, s)
		}
		ranges[s.Message] = true
	}
	if len(ranges) != 2 {
		t.Errorf("the pods share a range: %v", ranges)
	}
	if info, err := os.Stat(filepath.Join(host, "x")); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the host's file: %v %v", info, err)
	}
	c.remove("users-a")
	c.remove("users-b")
}

// TestUserRanges gives out the first free range, and none where a file cannot be read.
func TestUserRanges(t *testing.T) {
	no := false
	k := &Kubelet{deps: Deps{DataDir: t.TempDir()}}
	ask := func(uid types.UID) (uint32, error) {
		users, err := k.podUsers(&v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: string(uid), UID: uid}, Spec: v1.PodSpec{HostUsers: &no}})
		if err != nil {
			return 0, err
		}
		return users.Uids[0].HostId, nil
	}
	for _, step := range []struct {
		uid  types.UID
		want uint32
	}{{"a", firstUser}, {"b", firstUser + usersOfPod}, {"a", firstUser}, {"c", firstUser + 2*usersOfPod}} {
		if got, err := ask(step.uid); got != step.want || err != nil {
			t.Errorf("pod %s: %d %v, want %d", step.uid, got, err, step.want)
		}
	}
	if err := os.RemoveAll(k.podDir("b")); err != nil {
		t.Fatal(err)
	}
	if got, err := ask("d"); got != firstUser+usersOfPod || err != nil {
		t.Errorf("the range that was given back: %d %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(k.podDir("c"), usersFile), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, uid := range []types.UID{"c", "e"} {
		if _, err := ask(uid); err == nil || !strings.Contains(err.Error(), "rubbish") {
			t.Errorf("pod %s with a file that cannot be read: %v", uid, err)
		}
	}
	if users, err := k.podUsers(&v1.Pod{}); users != nil || err != nil {
		t.Errorf("a pod of the node's users: %v %v", users, err)
	}
}
