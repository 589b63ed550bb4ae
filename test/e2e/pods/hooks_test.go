package pods

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

func hooks(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "hooks", "testdata/hooks.yaml")
	for name, want := range map[string]struct {
		code     int32
		min, max time.Duration
	}{
		"stubborn": {137, 2 * time.Second, 25 * time.Second},
		"obedient": {9, 0, 25 * time.Second},
		"hooks":    {0, 0, 25 * time.Second},
		// The hook takes the whole grace; TERM gets 2 s more.
		"prestop-long":  {0, 2 * time.Second, 25 * time.Second},
		"prestop-sleep": {0, 2 * time.Second, 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s.For(t)
			pod := s.Ready(name)
			if name == "hooks" {
				if out := s.Exec(name, "c", "cat", "/tmp/post"); out != "post\n" {
					t.Errorf("postStart wrote %q", out)
				}
			}
			begun := time.Now()
			pod, took := deleted(s, pod)
			if exit := cluster.Exit(pod, "c"); exit.ExitCode != want.code || time.Since(begun) < want.min || took > want.max {
				s.Describe(pod)
				t.Errorf("exit code %d after %s, want %+v", exit.ExitCode, took, want)
			}
		})
	}
	t.Run("http", func(t *testing.T) {
		t.Parallel()
		httpHooks(t, s.For(t))
	})
	t.Run("a failed postStart kills the container", func(t *testing.T) {
		t.Parallel()
		s := s.For(t)
		s.Event("hook-fails", "FailedPostStartHook", "")
		s.When("hook-fails", "restarted", func(p *corev1.Pod) bool { return cluster.Container(p, "c").RestartCount >= 1 })
	})
}

// deleted deletes a pod that a finalizer holds, and returns how it ended and
// after what time. Then it lets the pod go.
func deleted(s *cluster.Space, pod *corev1.Pod) (*corev1.Pod, time.Duration) {
	begun := time.Now()
	s.Kubectl("delete", "pod", pod.Name, "--wait=false")
	pod = s.When(pod.Name, "stopped", func(p *corev1.Pod) bool { return cluster.Container(p, "c").State.Terminated != nil })
	took := time.Since(begun)
	s.Kubectl("patch", "pod", pod.Name, "--type=json", `-p=[{"op":"remove","path":"/metadata/finalizers"}]`)
	s.Gone(pod.Name)
	return pod, took
}

func httpHooks(t *testing.T, s *cluster.Space) {
	target := s.Ready("listener").Status.PodIP
	s.Apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: http-hooks}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: c
    image: e2e/busybox:1
    command: [sh, -c, "trap 'exit 0' TERM; while true; do sleep 0.1; done"]
    lifecycle:
      postStart: {httpGet: {host: %[1]q, port: 8080, path: "/index.html?post"}}
      preStop: {httpGet: {host: %[1]q, port: 8080, path: "/index.html?pre", httpHeaders: [{name: X, value: "y"}]}}
`, target))
	s.Ready("http-hooks")
	s.Kubectl("delete", "pod", "http-hooks", "--wait=false")
	s.Gone("http-hooks")
	log := s.Log("listener", "c")
	if strings.Count(log, "response:200") < 2 {
		t.Errorf("the hooks' server logged %q", log)
	}
}

func probes(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "probes", "testdata/probes.yaml")
	for name, text := range map[string]string{
		"live-exec":    "Liveness probe failed: cat: can't open '/tmp/ok'",
		"live-http":    "Liveness probe failed: HTTP probe failed with statuscode: 404",
		"live-tcp":     "Liveness probe failed: dial tcp ",
		"live-timeout": "Liveness probe failed: command timed out: ",
	} {
		t.Run(name, func(t *testing.T) {
			s := s.For(t)
			s.When(name, "restarted", func(p *corev1.Pod) bool {
				return cluster.Container(p, "c").RestartCount >= 1 && cluster.Container(p, "c").State.Running != nil
			})
			s.Event(name, "Unhealthy", text)
			s.Event(name, "Killing", "Container c failed liveness probe, will be restarted")
		})
	}
	t.Run("startup fails", func(t *testing.T) {
		s := s.For(t)
		s.When("startup-fails", "restarted", func(p *corev1.Pod) bool { return cluster.Container(p, "c").RestartCount >= 1 })
		s.Event("startup-fails", "Unhealthy", "Startup probe failed:")
		s.Event("startup-fails", "Killing", "Container c failed startup probe, will be restarted")
	})
	t.Run("startup holds the others back", func(t *testing.T) { startup(t, s.For(t)) })
	t.Run("readiness", func(t *testing.T) { readiness(t, s.For(t)) })
	t.Run("gate", func(t *testing.T) { gate(t, s.For(t)) })
	t.Run("well", func(t *testing.T) {
		if n := cluster.Container(s.For(t).Ready("live-well"), "c").RestartCount; n != 0 {
			t.Errorf("a container that is well was restarted %d times", n)
		}
	})
}

func startup(t *testing.T, s *cluster.Space) {
	pod := s.Ready("startup")
	state := cluster.Container(pod, "c")
	if state.RestartCount != 0 || state.Started == nil || !*state.Started {
		t.Errorf("status %+v", state)
	}
	if late := cluster.Condition(pod, corev1.PodReady).LastTransitionTime.Sub(state.State.Running.StartedAt.Time); late < 2*time.Second {
		t.Errorf("Ready %s after its start, before the startup probe can have passed", late)
	}
}

func readiness(t *testing.T, s *cluster.Space) {
	s.When("ready-later", "running", func(p *corev1.Pod) bool { return cluster.Container(p, "c").State.Running != nil })
	s.Event("ready-later", "Unhealthy", "Readiness probe failed: cat: can't open '/tmp/ready'")
	if cluster.IsReady(s.Pod("ready-later")) {
		t.Error("Ready although the probe fails")
	}
	s.Exec("ready-later", "c", "touch", "/tmp/ready")
	s.Ready("ready-later")
	s.Exec("ready-later", "c", "rm", "/tmp/ready")
	pod := s.When("ready-later", "not ready again", func(p *corev1.Pod) bool { return !cluster.IsReady(p) })
	if cluster.Container(pod, "c").RestartCount != 0 {
		t.Error("a readiness probe restarted the container")
	}
}

func gate(t *testing.T, s *cluster.Space) {
	const kind = "e2e.skiff.dev/gate"
	pod := s.When("gated", "with ready containers", func(p *corev1.Pod) bool {
		return cluster.Condition(p, corev1.ContainersReady).Status == corev1.ConditionTrue
	})
	if ready := cluster.Condition(pod, corev1.PodReady); ready.Status != corev1.ConditionFalse || ready.Reason != "ReadinessGatesNotReady" {
		t.Errorf("condition %+v", ready)
	}
	for _, value := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse} {
		patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q}]}}`, kind, value)
		if _, err := s.Client.CoreV1().Pods(s.Name).Patch(t.Context(), "gated", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		s.When("gated", "as ready as the gate says", func(p *corev1.Pod) bool { return cluster.Condition(p, corev1.PodReady).Status == value })
	}
}
