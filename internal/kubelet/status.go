package kubelet

import (
	"cmp"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/qos"
)

// idScheme starts the container identifiers in a pod's status.
const idScheme = "skiff://"

// statusInput is all that a pod's status is made from.
type statusInput struct {
	Pod         *v1.Pod
	View        *view
	Memory      map[string]containerMemory
	Termination *termination
	// Last is the status that was computed before, which the API server may not
	// have yet; nil: none was.
	Last *v1.PodStatus
	// Final: nothing runs and nothing will.
	Final bool
	Now   time.Time
	// Resize are the conditions of a resize, PodSizes the limits of the pod's own
	// cgroup, if they are known.
	Resize   []v1.PodCondition
	PodSizes *sizes
	// HostIPs are the node's addresses.
	HostIPs []string
	// Message reads the termination message of a container that ended.
	Message func(pod *v1.Pod, c *v1.Container, r *containerRecord) string
}

// podStatus fills in what only this node knows and makes the status.
func (k *Kubelet) podStatus(in statusInput) v1.PodStatus {
	in.HostIPs = k.hostIPs()
	in.Message = k.terminationMessage
	return makeStatus(in)
}

// makeStatus computes a pod's status. Parts that others own (conditions of other
// writers, the nominated node) are kept as they are.
func makeStatus(in statusInput) v1.PodStatus {
	s := *in.Pod.Status.DeepCopy()
	if in.Last != nil {
		carryOver(&s, in.Last)
	}
	now := metav1.NewTime(in.Now)
	if s.StartTime == nil {
		s.StartTime = &now
	}
	s.ObservedGeneration = in.Pod.Generation
	s.QOSClass = qos.GetPodQOS(in.Pod)

	s.InitContainerStatuses = in.statuses(in.Pod.Spec.InitContainers, s.InitContainerStatuses)
	s.ContainerStatuses = in.statuses(in.Pod.Spec.Containers, s.ContainerStatuses)
	s.EphemeralContainerStatuses = in.statuses(ephemeral(in.Pod), s.EphemeralContainerStatuses)
	for i := range s.EphemeralContainerStatuses {
		s.EphemeralContainerStatuses[i].Started = nil // nothing waits for its start
	}
	// In upstream's order: kubectl shows the reason of the first that has one.
	sortByName(s.ContainerStatuses)
	sortByName(s.EphemeralContainerStatuses)

	if in.Final {
		markUnknown(in.Pod, &s)
	}
	in.phase(&s)
	in.addresses(&s)
	in.podResources(&s)
	return s
}

// phase sets the pod's phase and, by it, its conditions.
func (in *statusInput) phase(s *v1.PodStatus) {
	before, reason, message := s.Phase, s.Reason, s.Message
	if in.Last != nil {
		before = in.Last.Phase
	}
	s.Phase = podPhase(in.Pod, s.InitContainerStatuses, s.ContainerStatuses, in.Final)
	if !over(s.Phase) {
		before = s.Phase
	}
	if t := in.Termination; t != nil && t.Phase != "" {
		s.Phase = t.Phase
		s.Reason, s.Message = t.Reason, t.Message
		if t.Rejected { // as upstream: kubectl then shows the reason, not a container's
			s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses = nil, nil, nil
		}
	}
	if over(in.Pod.Status.Phase) { // a final phase never changes
		s.Phase, before = in.Pod.Status.Phase, in.Pod.Status.Phase
	}
	setConditions(s, *in)
	if over(s.Phase) && !over(before) && in.couldRun() {
		// It is out of service, but not over: who waits for that takes what it holds.
		s.Phase, s.Reason, s.Message = cmp.Or(before, v1.PodPending), reason, message
	}
}

// over reports whether a phase is a pod's last.
func over(phase v1.PodPhase) bool { return phase == v1.PodSucceeded || phase == v1.PodFailed }

// couldRun reports whether a process of the pod may still run or begin to.
func (in *statusInput) couldRun() bool {
	if in.Final {
		return false
	}
	for _, m := range in.Memory {
		if m.Busy {
			return true
		}
	}
	return slices.ContainsFunc(in.View.Containers, func(c containerRecord) bool { return !c.ended() })
}

// podResources tells what the pod as a whole was given and has, also where only its
// containers ask for something (KEP-5419).
func (in *statusInput) podResources(s *v1.PodStatus) {
	s.AllocatedResources, s.Resources = asked(in.Pod), nil
	all := v1.ResourceRequirements{Requests: asked(in.Pod), Limits: podLimits(in.Pod)}
	switch {
	case len(all.Requests)+len(all.Limits) == 0:
	case in.PodSizes != nil:
		s.Resources = in.PodSizes.actual(all)
	default:
		s.Resources = &all
	}
}

// carryOver takes what the node agent owns from the status that it computed
// last, so that times do not move because a write is still under way.
func carryOver(s, last *v1.PodStatus) {
	if s.StartTime == nil {
		s.StartTime = last.StartTime
	}
	s.PodIP, s.PodIPs = last.PodIP, last.PodIPs
	s.InitContainerStatuses = last.InitContainerStatuses
	s.ContainerStatuses = last.ContainerStatuses
	s.EphemeralContainerStatuses = last.EphemeralContainerStatuses
	for _, c := range last.Conditions {
		if !ownCondition(c.Type) {
			continue
		}
		found := false
		for i := range s.Conditions {
			if s.Conditions[i].Type == c.Type {
				s.Conditions[i], found = c, true
			}
		}
		if !found {
			s.Conditions = append(s.Conditions, c)
		}
	}
}

func ephemeral(pod *v1.Pod) []v1.Container {
	var all []v1.Container
	for i := range pod.Spec.EphemeralContainers {
		all = append(all, v1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return all
}

// addresses sets the pod's and the node's addresses. A pod that ended keeps the
// address it had, also one that ended before a status told it.
func (in *statusInput) addresses(s *v1.PodStatus) {
	if len(in.HostIPs) > 0 {
		s.HostIP = in.HostIPs[0]
		s.HostIPs = nil
		for _, ip := range in.HostIPs {
			s.HostIPs = append(s.HostIPs, v1.HostIP{IP: ip})
		}
	}
	var ips []string
	if box := in.View.readySandbox(); box != nil {
		ips = box.IPs
	}
	if in.Pod.Spec.HostNetwork {
		ips = in.HostIPs
	}
	ended := over(s.Phase)
	if box := in.View.sandbox(); len(ips) == 0 && ended && s.PodIP == "" && box != nil {
		ips = box.IPs
	}
	if len(ips) == 0 {
		if !ended && in.Termination == nil && !in.Final && len(in.View.Sandboxes) > 0 {
			s.PodIP, s.PodIPs = "", nil // the sandbox is gone, a new one gets a new address
		}
		return
	}
	s.PodIP, s.PodIPs = ips[0], nil
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, v1.PodIP{IP: ip})
	}
}

func sortByName(all []v1.ContainerStatus) {
	slices.SortFunc(all, func(a, b v1.ContainerStatus) int { return cmp.Compare(a.Name, b.Name) })
}

func (in *statusInput) statuses(containers []v1.Container, old []v1.ContainerStatus) []v1.ContainerStatus {
	var all []v1.ContainerStatus
	for i := range containers {
		c := &containers[i]
		var before *v1.ContainerStatus
		for j := range old {
			if old[j].Name == c.Name {
				before = &old[j]
			}
		}
		all = append(all, in.containerStatus(c, before))
	}
	return all
}
