package pods

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

func restart(t *testing.T, c *cluster.Cluster) {
	s := c.Space(t, "restart", "testdata/restart.yaml")
	for name, want := range map[string]struct {
		phase    corev1.PodPhase
		code     int32
		restarts int32
		reason   string
	}{
		"never-0":        {corev1.PodSucceeded, 0, 0, "Completed"},
		"never-3":        {corev1.PodFailed, 3, 0, "Error"},
		"onfailure-0":    {corev1.PodSucceeded, 0, 0, "Completed"},
		"onfailure-once": {corev1.PodSucceeded, 0, 1, "Completed"},
		"killed":         {corev1.PodFailed, 137, 0, "Error"},
		"oom":            {corev1.PodFailed, 137, 0, "OOMKilled"},
		"no-command":     {corev1.PodFailed, 128, 0, "StartError"},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.For(t)
			pod := s.Ended(name)
			exit := cluster.Exit(pod, "c")
			restarts := cluster.Container(pod, "c").RestartCount
			if pod.Status.Phase != want.phase || exit.ExitCode != want.code || restarts != want.restarts || exit.Reason != want.reason {
				s.Describe(pod)
				t.Errorf("%s, exit code %d (%s), %d restarts; want %+v", pod.Status.Phase, exit.ExitCode, exit.Reason, restarts, want)
			}
			if exit.StartedAt.IsZero() && name != "no-command" || exit.FinishedAt.IsZero() || !strings.HasPrefix(exit.ContainerID, "skiff://") {
				t.Errorf("the end lacks times or an ID: %+v", exit)
			}
		})
	}
	t.Run("crash loop", func(t *testing.T) { crashLoop(t, s.For(t)) })
	t.Run("one of two", func(t *testing.T) { oneOfTwo(t, s.For(t)) })
	t.Run("deadline", func(t *testing.T) {
		pod := s.For(t).Ended("deadline")
		if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "DeadlineExceeded" {
			t.Errorf("%s for the reason %q", pod.Status.Phase, pod.Status.Reason)
		}
	})
	t.Run("images", func(t *testing.T) { badImages(t, s.For(t)) })
}

// waits tells whether the container waits for a reason.
func waits(reason string) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool {
		waiting := cluster.Container(pod, "c").State.Waiting
		return waiting != nil && waiting.Reason == reason
	}
}

func crashLoop(t *testing.T, s *cluster.Space) {
	for name, code := range map[string]int32{"always-crash": 5, "always-0": 0} {
		pod := s.When(name, "in a crash loop", waits("CrashLoopBackOff"))
		state := cluster.Container(pod, "c")
		if message := state.State.Waiting.Message; !strings.HasPrefix(message, "back-off 10s restarting failed container=c pod="+name+"_restart(") &&
			!strings.HasPrefix(message, "back-off 20s restarting failed container=c pod="+name+"_restart(") {
			t.Errorf("%s waits with the message %q", name, message)
		}
		if state.LastTerminationState.Terminated == nil || state.LastTerminationState.Terminated.ExitCode != code || pod.Status.Phase != corev1.PodRunning {
			s.Describe(pod)
			t.Errorf("%s: last state %+v, phase %s", name, state.LastTerminationState, pod.Status.Phase)
		}
	}
	s.Event("always-crash", "BackOff", "Back-off restarting failed container c in pod always-crash_restart(")
	// The first restart comes at once, the second 10 s after that.
	pod := s.When("always-crash", "restarted twice", func(p *corev1.Pod) bool {
		state := cluster.Container(p, "c")
		return state.RestartCount >= 2 && (state.State.Terminated != nil || state.State.Running != nil)
	})
	var begun metav1.Time
	if state := cluster.Container(pod, "c").State; state.Running != nil {
		begun = state.Running.StartedAt
	} else {
		begun = state.Terminated.StartedAt
	}
	if gap := begun.Sub(pod.Status.StartTime.Time); gap < 9*time.Second || gap > time.Minute {
		t.Errorf("the second restart came %s after the pod's start; the delay is 10 s", gap)
	}
}

func oneOfTwo(t *testing.T, s *cluster.Space) {
	pod := s.When("one-of-two", "half ended", func(p *corev1.Pod) bool {
		return cluster.Container(p, "bad").State.Terminated != nil && cluster.Container(p, "good").State.Running != nil
	})
	if pod.Status.Phase != corev1.PodRunning || cluster.IsReady(pod) {
		t.Errorf("%s, ready %v", pod.Status.Phase, cluster.IsReady(pod))
	}
	if c := cluster.Condition(pod, corev1.ContainersReady); c.Reason != "ContainersNotReady" || !strings.Contains(c.Message, "[bad]") {
		t.Errorf("condition %+v", c)
	}
}

func badImages(t *testing.T, s *cluster.Space) {
	s.When("no-image", "without image", waits("ErrImageNeverPull"))
	pod := s.When("bad-image", "without image", waits("InvalidImageName"))
	if pod.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s", pod.Status.Phase)
	}
}
