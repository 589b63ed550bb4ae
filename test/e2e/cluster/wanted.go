package cluster

import (
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations by which a manifest says what a pod must come to, beside the pod
// that does it.
const (
	// WantLog is what the pod's first container writes before it succeeds,
	// apart from space at the ends.
	WantLog = "want-log"
	// WantLike is the same as a regular expression for the whole log.
	WantLike = "want-like"
	// WantWait is the reason for which the first container waits.
	WantWait = "want-wait"
	// WantMessage is part of the message of that waiting.
	WantMessage = "want-message"
)

// Wanted tests every pod of the namespace that says what it wants.
func (s *Space) Wanted(t *testing.T) {
	t.Helper()
	list, err := s.Client.CoreV1().Pods(s.Name).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range list.Items {
		want := pod.Annotations
		switch {
		case want[WantLog] != "":
			t.Run(pod.Name, func(t *testing.T) {
				if log := s.For(t).Succeeded(pod.Name); strings.TrimSpace(log) != strings.TrimSpace(want[WantLog]) {
					t.Errorf("it wrote:\n%s\nwant:\n%s", log, want[WantLog])
				}
			})
		case want[WantLike] != "":
			t.Run(pod.Name, func(t *testing.T) {
				pattern := `^(?s:` + strings.TrimSpace(want[WantLike]) + `)$`
				if log := s.For(t).Succeeded(pod.Name); !regexp.MustCompile(pattern).MatchString(strings.TrimSpace(log)) {
					t.Errorf("it wrote:\n%s\nwant it to match:\n%s", log, want[WantLike])
				}
			})
		case want[WantWait] != "":
			t.Run(pod.Name, func(t *testing.T) { s.For(t).waits(pod.Name, want[WantWait], want[WantMessage]) })
		}
	}
}

// waits tests that a pod's first container waits for a reason.
func (s *Space) waits(name, reason, message string) {
	s.t.Helper()
	s.When(name, "waiting for "+reason, func(p *corev1.Pod) bool {
		for _, status := range p.Status.ContainerStatuses {
			if w := status.State.Waiting; w != nil && w.Reason == reason && strings.Contains(w.Message, message) {
				return true
			}
		}
		return false
	})
}
