package pods

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

func initContainers(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "init", "testdata/init.yaml")
	t.Run("order", func(t *testing.T) {
		s := s.For(t)
		if log := s.Succeeded("order"); log != "first\nsecond\n" {
			t.Errorf("order: %q", log)
		}
		pod := s.Pod("order")
		if cond := cluster.Condition(pod, corev1.PodInitialized); cond.Status != corev1.ConditionTrue {
			t.Errorf("condition %+v", cond)
		}
		for _, status := range pod.Status.InitContainerStatuses {
			if !status.Ready || status.State.Terminated == nil || status.State.Terminated.Reason != "Completed" {
				t.Errorf("init container %+v", status)
			}
		}
	})
	t.Run("a failure ends a pod that never restarts", func(t *testing.T) { initFails(t, s.For(t)) })
	t.Run("a failure is repeated with delays", func(t *testing.T) { initRepeats(t, s.For(t)) })
	t.Run("sidecar", func(t *testing.T) { sidecar(t, s.For(t)) })
	t.Run("sidecar dies", func(t *testing.T) {
		s.For(t).When("sidecar-dies", "with a restarted sidecar", func(p *corev1.Pod) bool {
			side := cluster.Container(p, "side")
			return side.RestartCount == 1 && side.State.Running != nil && cluster.Container(p, "c").RestartCount == 0 && cluster.IsReady(p)
		})
	})
}

func initFails(t *testing.T, s *cluster.Space) {
	pod := s.Ended("init-fails-never")
	if pod.Status.Phase != corev1.PodFailed || cluster.Exit(pod, "bad").ExitCode != 7 {
		s.Describe(pod)
		t.Errorf("%s, exit code %d", pod.Status.Phase, cluster.Exit(pod, "bad").ExitCode)
	}
	if cond := cluster.Condition(pod, corev1.PodInitialized); cond.Status != corev1.ConditionFalse || cond.Reason != "ContainersNotInitialized" || cond.Message != "containers with incomplete status: [bad after]" {
		t.Errorf("condition %+v", cond)
	}
	for _, name := range []string{"after", "c"} {
		if w := cluster.Container(pod, name).State.Waiting; w == nil || w.Reason != "PodInitializing" {
			t.Errorf("%s: %+v", name, cluster.Container(pod, name).State)
		}
	}
}

func initRepeats(t *testing.T, s *cluster.Space) {
	pod := s.When("init-fails-always", "three times failed", func(p *corev1.Pod) bool { return cluster.Container(p, "bad").RestartCount >= 2 })
	if pod.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s", pod.Status.Phase)
	}
	s.When("init-fails-always", "in a crash loop", func(p *corev1.Pod) bool {
		w := cluster.Container(p, "bad").State.Waiting
		return w != nil && w.Reason == "CrashLoopBackOff"
	})
	if pod = s.Ready("init-fails-once"); cluster.Container(pod, "once").RestartCount != 1 {
		t.Errorf("init container %+v", cluster.Container(pod, "once"))
	}
}

func sidecar(t *testing.T, s *cluster.Space) {
	if log := s.Succeeded("sidecar"); log != "up\n" {
		t.Errorf("the main container saw %q", log)
	}
	pod := s.Pod("sidecar")
	if log := s.Log("sidecar", "then"); log != "up\n" {
		t.Errorf("the next init container saw %q", log)
	}
	side := cluster.Exit(pod, "side")
	if side.ExitCode != 0 || side.FinishedAt.Before(&pod.Status.ContainerStatuses[0].State.Terminated.FinishedAt) {
		s.Describe(pod)
		t.Errorf("the sidecar ended with %+v", side)
	}
	if st := cluster.Container(pod, "side"); st.Started == nil || strings.Contains(st.State.String(), "Waiting:&") {
		t.Errorf("the sidecar's status %+v", st)
	}
}
