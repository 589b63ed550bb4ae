package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func tryStatic(t *testing.T, c *testCluster) {
	path := filepath.Join(c.static, "web.yaml")
	manifest := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  terminationGracePeriodSeconds: 2\n  containers:\n  - name: main\n    image: busybox\n    imagePullPolicy: IfNotPresent\n    command: [sh, -c, \"" + forever + "\"]\n"
	if err := os.WriteFile(path, []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	name := "web-" + testNode
	p := c.ready(name)
	id := mainStatus(p).ContainerID
	if err := c.client.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := c.await(name, "mirrored again", func(q *v1.Pod) bool { return q != nil && q.UID != p.UID && isReady(q) })
	if mainStatus(again).ContainerID != id || mainStatus(again).RestartCount != 0 {
		t.Errorf("deleting the mirror touched the pod: %+v", mainStatus(again))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c.await(name, "gone", func(p *v1.Pod) bool { return p == nil })
	uid := types.UID(again.Annotations[v1.MirrorPodAnnotationKey])
	for deadline := time.Now().Add(time.Minute); c.kubelet.worker(uid) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the static pod goes on")
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // nothing tells of the end of a pod that has no object
	}
}

func trySharedPID(t *testing.T, c *testCluster) {
	c.pod("pids", "ps | grep -c '[p]ause' > /dev/termination-log", func(p *v1.Pod) {
		never(p)
		yes := true
		p.Spec.ShareProcessNamespace = &yes
	})
	p := c.await("pids", "done", func(p *v1.Pod) bool { return mainStatus(p).State.Terminated != nil })
	if got := mainStatus(p).State.Terminated.Message; got != "1\n" {
		t.Errorf("pause seen %q times", got)
	}
}

// TestAdoption is what a crash of skiff means: everything runs on, and what ended
// meanwhile is told as it was.
func TestAdoption(t *testing.T) {
	if !enter(t) {
		return
	}
	c := startCluster(t)
	c.pod("stays", forever, func(p *v1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"true"}}}, InitialDelaySeconds: 1}
	})
	c.pod("ends", "while ! test -e /host/go; do sleep 0.05; done; exit 42", func(p *v1.Pod) {
		never(p)
		p.Spec.Volumes = []v1.Volume{{Name: "host", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: c.dir}}}}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "host", MountPath: "/host"}}
	})
	c.pod("orphan", forever, nil)
	before := c.ready("stays")
	c.ready("ends")
	orphan := c.ready("orphan")
	c.stop()
	now := int64(0)
	if err := c.client.CoreV1().Pods("default").Delete(t.Context(), "orphan", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c.startNode()
	p := c.await("ends", "failed", phaseIs(v1.PodFailed))
	if s := mainStatus(p).State.Terminated; s == nil || s.ExitCode != 42 {
		t.Errorf("ended while skiff was away: %+v", s)
	}
	after := c.ready("stays")
	if a, b := mainStatus(after), mainStatus(before); a.ContainerID != b.ContainerID || a.RestartCount != 0 || !a.State.Running.StartedAt.Equal(&b.State.Running.StartedAt) {
		t.Errorf("it was not adopted: %+v, before %+v", a, b)
	}
	if x, y := conditionOf(after.Status, v1.PodReady), conditionOf(before.Status, v1.PodReady); !x.LastTransitionTime.Equal(&y.LastTransitionTime) {
		t.Errorf("readiness flapped: %s, before %s", x.LastTransitionTime, y.LastTransitionTime)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // nothing tells of the end of a pod that has no object
		v, err := observe(t.Context(), c.kubelet.deps.Runtime, string(orphan.UID))
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Sandboxes) == 0 && len(v.Containers) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the orphan goes on")
		}
	}
}

func tryChanges(t *testing.T, c *testCluster) {
	c.pod("change", forever, func(p *v1.Pod) {
		p.Labels = map[string]string{"v": "1"}
		p.Spec.Volumes = []v1.Volume{{Name: "down", VolumeSource: v1.VolumeSource{DownwardAPI: &v1.DownwardAPIVolumeSource{Items: []v1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &v1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.labels"}}}}}}}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "down", MountPath: "/down"}}
	})
	c.ready("change")
	pods := c.client.CoreV1().Pods("default")
	patch := func(text string) {
		if _, err := pods.Patch(t.Context(), "change", types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch(`{"metadata":{"labels":{"v":"2"}}}`)
	if got := c.exec("change", `for i in $(seq 100); do grep -q '"2"' /down/labels && break; sleep 0.05; done; cat /down/labels`); got != `v="2"` {
		t.Errorf("labels %q", got)
	}
	patch(`{"spec":{"containers":[{"name":"main","image":"docker.io/library/busybox:latest"}]}}`)
	p := c.await("change", "restarted with the new image", func(p *v1.Pod) bool { return mainStatus(p).RestartCount == 1 && isReady(p) })
	if got := mainStatus(p).Image; got != "docker.io/library/busybox:latest" {
		t.Errorf("image %q", got)
	}
	c.event("change", "Killing", "Container main definition changed, will be restarted")
}

func trySandboxDeath(t *testing.T, c *testCluster) {
	c.pod("pause", forever, func(p *v1.Pod) {
		p.Spec.InitContainers = []v1.Container{{Name: "first", Image: "busybox", ImagePullPolicy: v1.PullIfNotPresent, Command: []string{"true"}}}
	})
	before := c.ready("pause")
	id, err := (nodePods{c.kubelet}).Sandbox(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.kubelet.deps.Runtime.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		t.Fatal(err)
	}
	after := c.await("pause", "running in a new sandbox", func(p *v1.Pod) bool { return isReady(p) && mainStatus(p).RestartCount == 1 })
	if first := after.Status.InitContainerStatuses[0]; after.Status.PodIP == "" || first.RestartCount != 1 || !first.Ready {
		t.Errorf("status %+v", after.Status)
	}
	c.event("pause", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
}

func tryHostNetwork(t *testing.T, c *testCluster) {
	c.pod("hostnet", "ip addr show up0 > /dev/termination-log", func(p *v1.Pod) {
		never(p)
		p.Spec.HostNetwork = true
	})
	p := c.await("hostnet", "done", phaseIs(v1.PodSucceeded))
	if got := mainStatus(p).State.Terminated.Message; !strings.Contains(got, "192.0.2.1") || p.Status.PodIP != "192.0.2.1" {
		t.Errorf("%q, pod IP %s", got, p.Status.PodIP)
	}
}

// tryShorten gives an end that is under way less time.
func tryShorten(t *testing.T, c *testCluster) {
	long := int64(60)
	c.pod("slow", "trap '' TERM; while :; do sleep 0.05; done", func(p *v1.Pod) {
		p.Spec.TerminationGracePeriodSeconds = &long
		p.Spec.Containers[0].Lifecycle = &v1.Lifecycle{PreStop: &v1.LifecycleHandler{Sleep: &v1.SleepAction{Seconds: 50}}}
	})
	c.ready("slow")
	pods := c.client.CoreV1().Pods("default")
	if err := pods.Delete(t.Context(), "slow", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.event("slow", "Killing", "Stopping container main")
	began, short := time.Now(), int64(1)
	if err := pods.Delete(t.Context(), "slow", metav1.DeleteOptions{GracePeriodSeconds: &short}); err != nil {
		t.Fatal(err)
	}
	c.await("slow", "gone", func(p *v1.Pod) bool { return p == nil })
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("gone after %s", took)
	}
}

// trySidecarOrder lets an app container write to its sidecar while it ends. It does
// not before the sidecar's hook, which runs at once, has been there. The
// pod is ready when both shells have their traps: a first process without a
// handler does not hear TERM.
func trySidecarOrder(t *testing.T, c *testCluster) {
	always := v1.ContainerRestartPolicyAlways
	host, long := t.TempDir(), int64(60)
	c.pod("order", "trap 'while ! test -e /host/hook; do sleep 0.05; done; sleep 0.3; echo app >> /host/order; exit 0' TERM; touch /host/app; while :; do sleep 0.05; done", func(p *v1.Pod) {
		p.Spec.TerminationGracePeriodSeconds = &long
		p.Spec.Volumes = []v1.Volume{{Name: "host", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: host}}}}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "host", MountPath: "/host"}}
		trapped := v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"ls", "/host/app", "/host/side"}}}
		p.Spec.Containers[0].ReadinessProbe = &v1.Probe{ProbeHandler: trapped, PeriodSeconds: 1, TimeoutSeconds: 10}
		p.Spec.InitContainers = []v1.Container{{
			Name: "side", Image: "busybox", ImagePullPolicy: v1.PullIfNotPresent, RestartPolicy: &always, VolumeMounts: p.Spec.Containers[0].VolumeMounts,
			Command:   []string{"sh", "-c", "trap 'echo side >> /host/order; exit 0' TERM; touch /host/side; while :; do sleep 0.05; done"},
			Lifecycle: &v1.Lifecycle{PreStop: &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{"touch", "/host/hook"}}}},
		}}
	})
	c.ready("order")
	c.remove("order")
	if got, err := os.ReadFile(filepath.Join(host, "order")); err != nil || string(got) != "app\nside\n" {
		t.Errorf("order of the ends: %q %v", got, err)
	}
}
