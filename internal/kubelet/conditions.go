package kubelet

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of a pod's conditions, as upstream spells them.
const (
	reasonNotInitialized = "ContainersNotInitialized"
	reasonNotReady       = "ContainersNotReady"
	reasonGatesNotReady  = "ReadinessGatesNotReady"
	reasonPodCompleted   = "PodCompleted"
	reasonPodFailed      = "PodFailed"
)

// setConditions sets the conditions that the node agent owns. The time of a
// condition moves only when its status does.
func setConditions(s *v1.PodStatus, in statusInput) {
	ready := containersReady(s, in.Pod)
	all := []v1.PodCondition{
		sandboxCondition(in),
		initializedCondition(s, in),
		ready,
		podReady(s, in.Pod, ready),
		// It is here: the node agent goes on where the scheduler left off, as the
		// generation that was seen is its own to tell.
		{Type: v1.PodScheduled, Status: v1.ConditionTrue},
	}
	for _, c := range all {
		c.ObservedGeneration = in.Pod.Generation
		setCondition(s, c, metav1.NewTime(in.Now))
	}
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c v1.PodCondition) bool { return resizeConditionType(c.Type) })
	s.Conditions = append(s.Conditions, in.Resize...)
}

// resizeConditionType tells the conditions that are there only while a resize is.
func resizeConditionType(t v1.PodConditionType) bool {
	return t == v1.PodResizePending || t == v1.PodResizeInProgress
}

func setCondition(s *v1.PodStatus, c v1.PodCondition, now metav1.Time) {
	c.LastTransitionTime = now
	for i := range s.Conditions {
		old := &s.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		c.LastProbeTime = old.LastProbeTime
		*old = c
		return
	}
	s.Conditions = append(s.Conditions, c)
}

func condition(t v1.PodConditionType, ok bool, reason, message string) v1.PodCondition {
	if ok {
		return v1.PodCondition{Type: t, Status: v1.ConditionTrue}
	}
	return v1.PodCondition{Type: t, Status: v1.ConditionFalse, Reason: reason, Message: message}
}

// sandboxCondition says whether the sandbox stands and has its network (KEP-3085).
func sandboxCondition(in statusInput) v1.PodCondition {
	box := in.View.readySandbox()
	ok := box != nil && (in.Pod.Spec.HostNetwork || len(box.IPs) > 0)
	return condition(v1.PodReadyToStartContainers, ok, "", "")
}

func initializedCondition(s *v1.PodStatus, in statusInput) v1.PodCondition {
	var waiting []string
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		if st := statusOf(s.InitContainerStatuses, c.Name); st == nil || !initDone(c, st) {
			waiting = append(waiting, c.Name)
		}
	}
	switch {
	case s.Phase == v1.PodSucceeded:
		return v1.PodCondition{Type: v1.PodInitialized, Status: v1.ConditionTrue, Reason: reasonPodCompleted}
	case len(waiting) > 0 && !appRan(s):
		return condition(v1.PodInitialized, false, reasonNotInitialized, fmt.Sprintf("containers with incomplete status: %s", waiting))
	default:
		return condition(v1.PodInitialized, true, "", "")
	}
}

// appRan reports whether an app container ever ran: then the pod was initialized.
func appRan(s *v1.PodStatus) bool {
	for i := range s.ContainerStatuses {
		if c := &s.ContainerStatuses[i]; c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil {
			return true
		}
	}
	return false
}

func statusOf(all []v1.ContainerStatus, name string) *v1.ContainerStatus {
	for i := range all {
		if all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

func containersReady(s *v1.PodStatus, pod *v1.Pod) v1.PodCondition {
	switch s.Phase {
	case v1.PodSucceeded:
		return condition(v1.ContainersReady, false, reasonPodCompleted, "")
	case v1.PodFailed:
		return condition(v1.ContainersReady, false, reasonPodFailed, "")
	}
	var unready []string
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; isSidecar(c) {
			if st := statusOf(s.InitContainerStatuses, c.Name); st == nil || !st.Ready {
				unready = append(unready, c.Name)
			}
		}
	}
	for i := range pod.Spec.Containers {
		name := pod.Spec.Containers[i].Name
		if st := statusOf(s.ContainerStatuses, name); st == nil || !st.Ready {
			unready = append(unready, name)
		}
	}
	return condition(v1.ContainersReady, len(unready) == 0, reasonNotReady, fmt.Sprintf("containers with unready status: %s", unready))
}

// podReady is ContainersReady plus the pod's own readiness gates.
func podReady(s *v1.PodStatus, pod *v1.Pod, containers v1.PodCondition) v1.PodCondition {
	if containers.Status != v1.ConditionTrue {
		containers.Type = v1.PodReady
		return containers
	}
	var missing []string
	for _, gate := range pod.Spec.ReadinessGates {
		at := slices.IndexFunc(s.Conditions, func(c v1.PodCondition) bool { return c.Type == gate.ConditionType })
		switch {
		case at < 0:
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case s.Conditions[at].Status != v1.ConditionTrue:
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, s.Conditions[at].Status))
		}
	}
	return condition(v1.PodReady, len(missing) == 0, reasonGatesNotReady, strings.Join(missing, ", "))
}
