package kubelet

import (
	v1 "k8s.io/api/core/v1"
)

// podPhase sums up the containers' states, as the pod lifecycle documentation
// says. A pod for which nothing will run any more (final) is never Running: it
// succeeded if everything did, else it failed.
func podPhase(pod *v1.Pod, inits, apps []v1.ContainerStatus, final bool) v1.PodPhase {
	i, a := countInits(pod, inits), countApps(pod, apps)
	running := a.running + i.sidecars
	switch {
	case i.failed > 0:
		return v1.PodFailed
	case final && running == 0 && a.stopped > 0 && a.stopped == a.succeeded && a.waiting == 0:
		return v1.PodSucceeded
	case final && running == 0:
		return v1.PodFailed
	case i.pending > 0, i.pendingSidecars > 0 && a.running+a.stopped == 0, a.waiting > 0:
		// As upstream: a pod has left Pending when each of its containers has been started.
		return v1.PodPending
	case running > 0:
		return v1.PodRunning
	case a.stopped == 0:
		return v1.PodPending
	case a.again > 0:
		return v1.PodRunning
	case a.stopped == a.succeeded:
		return v1.PodSucceeded
	default:
		return v1.PodFailed
	}
}

// initCount counts plain init containers that are not done, those that failed
// for good, sidecars that are not started yet and those that run.
type initCount struct{ pending, failed, pendingSidecars, sidecars int }

func countInits(pod *v1.Pod, statuses []v1.ContainerStatus) initCount {
	var n initCount
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := statusOf(statuses, c.Name)
		switch {
		case s == nil && isSidecar(c):
			n.pendingSidecars++
		case s == nil:
			n.pending++
		case isSidecar(c):
			if s.State.Running != nil {
				n.sidecars++
			}
			if s.State.Running != nil && !isTrue(s.Started) || s.State.Waiting != nil && s.LastTerminationState.Terminated == nil {
				n.pendingSidecars++
			}
		case s.State.Terminated != nil:
			if code := s.State.Terminated.ExitCode; code != 0 && !restartsAfter(pod, c, code) {
				n.failed++
			}
		case s.State.Running != nil || s.LastTerminationState.Terminated == nil:
			n.pending++
		}
	}
	return n
}

// appCount counts app containers that were never started, that run, that ended,
// and of the last those that succeeded and those that will start again.
type appCount struct{ waiting, running, stopped, succeeded, again int }

func countApps(pod *v1.Pod, statuses []v1.ContainerStatus) appCount {
	var n appCount
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		s := statusOf(statuses, c.Name)
		switch {
		case s == nil:
			n.waiting++
		case s.State.Running != nil:
			n.running++
		case s.State.Terminated != nil:
			n.stopped++
			if s.State.Terminated.ExitCode == 0 {
				n.succeeded++
			}
			if restartsAfter(pod, c, s.State.Terminated.ExitCode) {
				n.again++
			}
		case s.LastTerminationState.Terminated != nil: // who waits after an end will start again
			n.stopped++
			n.again++
		default:
			n.waiting++
		}
	}
	return n
}

// markUnknown gives a pod that is over a final state for each of its containers:
// of one that has none nobody knows how it went, and that is no success. As
// upstream, containers that nothing says were ever reached stay as they are.
func markUnknown(pod *v1.Pod, s *v1.PodStatus) {
	reached := func(c *v1.ContainerStatus) bool {
		return c.State.Waiting == nil || c.LastTerminationState.Terminated != nil
	}
	initialized := len(pod.Spec.InitContainers) == 0
	for i := range s.ContainerStatuses {
		initialized = initialized || reached(&s.ContainerStatuses[i])
	}
	last := 0
	for i := range s.InitContainerStatuses {
		if reached(&s.InitContainerStatuses[i]) {
			last = i
		}
	}
	if n := len(s.InitContainerStatuses); n > 0 {
		initialized = initialized || initDone(findContainer(pod, s.InitContainerStatuses[n-1].Name), &s.InitContainerStatuses[n-1])
		markAll(s.InitContainerStatuses[:last+1])
	}
	if initialized {
		markAll(s.ContainerStatuses)
	}
}

// initDone reports whether an init container has done its part.
func initDone(c *v1.Container, s *v1.ContainerStatus) bool {
	if isSidecar(c) {
		return isTrue(s.Started)
	}
	return s.Ready
}

func markAll(all []v1.ContainerStatus) {
	for i := range all {
		if all[i].State.Terminated == nil {
			all[i].State = v1.ContainerState{Terminated: unknownEnd("The container could not be located when the pod was terminated")}
		}
	}
}

// unknownEnd is the end of a container of which nobody knows how it ended.
func unknownEnd(message string) *v1.ContainerStateTerminated {
	return &v1.ContainerStateTerminated{Reason: "ContainerStatusUnknown", ExitCode: unknownCode, Message: message}
}
