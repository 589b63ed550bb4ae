package kubelet

import (
	v1 "k8s.io/api/core/v1"
)

// podPhase sums up the containers' states, as the pod lifecycle documentation
// says. A pod for which nothing will run any more (final) is never Running: it
// succeeded if everything did, else it failed.
func podPhase(pod *v1.Pod, inits, apps []v1.ContainerStatus, final bool) v1.PodPhase {
	byName := map[string]*v1.ContainerStatus{}
	for i := range inits {
		byName[inits[i].Name] = &inits[i]
	}
	pendingInit, failedInit := countInit(pod, byName)
	var waiting, running, stopped, succeeded int
	for i := range apps {
		switch s := &apps[i].State; {
		case s.Running != nil:
			running++
		case s.Terminated != nil:
			stopped++
			if s.Terminated.ExitCode == 0 {
				succeeded++
			}
		case apps[i].LastTerminationState.Terminated != nil:
			stopped++
		default:
			waiting++
		}
	}
	sidecarsRun := runningSidecars(pod, byName)
	switch {
	case failedInit > 0 && (pod.Spec.RestartPolicy == v1.RestartPolicyNever || final):
		return v1.PodFailed
	case final && running == 0:
		if succeeded == len(pod.Spec.Containers) && succeeded > 0 {
			return v1.PodSucceeded
		}
		return v1.PodFailed
	case pendingInit > 0 && running+stopped == 0:
		return v1.PodPending
	case waiting > 0:
		if stopped > 0 || running > 0 {
			return v1.PodRunning
		}
		return v1.PodPending
	case running > 0:
		return v1.PodRunning
	case stopped == 0:
		return v1.PodPending
	case sidecarsRun || pod.Spec.RestartPolicy == v1.RestartPolicyAlways:
		return v1.PodRunning
	case stopped == succeeded:
		return v1.PodSucceeded
	case pod.Spec.RestartPolicy == v1.RestartPolicyNever:
		return v1.PodFailed
	default:
		return v1.PodRunning
	}
}

// countInit counts init containers that are not done, and those that failed.
func countInit(pod *v1.Pod, byName map[string]*v1.ContainerStatus) (pending, failed int) {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := byName[c.Name]
		switch {
		case s == nil:
			pending++
		case isSidecar(c):
			if s.State.Running == nil || s.Started == nil || !*s.Started {
				pending++
			}
		case s.State.Terminated != nil && s.State.Terminated.ExitCode == 0:
		case s.State.Terminated != nil:
			failed++
		default:
			pending++
		}
	}
	return pending, failed
}

func runningSidecars(pod *v1.Pod, byName map[string]*v1.ContainerStatus) bool {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if s := byName[c.Name]; isSidecar(c) && s != nil && s.State.Running != nil {
			return true
		}
	}
	return false
}
