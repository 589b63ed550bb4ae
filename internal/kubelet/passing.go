package kubelet

import (
	"time"

	v1 "k8s.io/api/core/v1"
)

const (
	// settle is how long a status that only tells of progress may wait: most pods
	// are running before it is over, and cost one write instead of three.
	settle = 100 * time.Millisecond
	// exchange is the same for a container that makes way for its successor, which
	// takes longer on a busy machine: it has an end and a start in it.
	exchange = 500 * time.Millisecond
)

// passing is how long a status may wait for the next one, because it says nothing
// that anybody acts on: the pod is on its way, with no fault and nothing ready, or
// it is ending and was already taken out of service, or a container is exchanged.
func passing(have, want *v1.PodStatus, deleted bool) time.Duration {
	switch {
	case deleted || onItsWay(have, want):
		return settle
	case replacing(have, want):
		return exchange
	}
	return 0
}

func onItsWay(have, want *v1.PodStatus) bool {
	if want.Phase != v1.PodPending || have.Phase != v1.PodPending && have.Phase != "" || want.Reason != have.Reason {
		return false
	}
	for _, all := range [][]v1.ContainerStatus{want.InitContainerStatuses, want.ContainerStatuses} {
		for i := range all {
			w := all[i].State.Waiting
			if w == nil || w.Reason != reasonCreating && w.Reason != reasonInitializing {
				return false
			}
		}
	}
	return true
}

// replacing reports whether all that is new is that containers which run make way
// for their successors, with another image or other resources. Most of those run
// before anybody could have heard of it, and no endpoint has to go and come back.
func replacing(have, want *v1.PodStatus) bool {
	if want.Phase != v1.PodRunning || have.Phase != v1.PodRunning || want.Reason != have.Reason {
		return false
	}
	found := false
	same := func(have, want []v1.ContainerStatus) bool {
		for i := range want {
			w, h := &want[i], statusOf(have, want[i].Name)
			switch {
			case h == nil:
				return false
			case h.State.Running != nil && w.State.Waiting != nil && (w.State.Waiting.Reason == reasonCreating || w.State.Waiting.Reason == reasonInitializing):
				found = true
			case w.Ready != h.Ready || w.RestartCount != h.RestartCount || w.State.Terminated != nil && h.State.Terminated == nil:
				return false
			}
		}
		return true
	}
	return same(have.InitContainerStatuses, want.InitContainerStatuses) && same(have.ContainerStatuses, want.ContainerStatuses) && found
}
