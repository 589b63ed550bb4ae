package kubelet

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// asked is what the pod's specification asks for.
func asked(pod *v1.Pod) v1.ResourceList {
	return resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
}

// held is what counts of a pod that was let in: what it was given, and what its
// cgroups say if that is more.
func held(pod *v1.Pod) v1.ResourceList {
	return resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true})
}

// resizable are the resources that can be changed while a pod runs.
func resizable() []v1.ResourceName { return []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} }

// less reports whether a is less than b in any of the resources that can change.
func less(a, b v1.ResourceList) bool {
	return slices.ContainsFunc(resizable(), func(name v1.ResourceName) bool {
		x, y := a[name], b[name]
		return x.Cmp(y) < 0
	})
}

// mayGrow answers a pod that wants other resources. Only what grows needs room,
// and it may never be more than the node has to give. It is pure.
func mayGrow(given, wanted *v1.Pod, node *v1.Node, others []*v1.Pod) answer {
	if node == nil {
		return answer{Given: true}
	}
	had, want := asked(given), asked(wanted)
	later := answer{Given: true}
	for _, name := range resizable() {
		was, q, room := had[name], want[name], node.Status.Allocatable[name]
		if q.Cmp(was) <= 0 {
			continue
		}
		if q.Cmp(room) > 0 {
			return answer{Reason: v1.PodReasonInfeasible, Message: fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", name, unit(name, q), unit(name, room))}
		}
		if lack := lacks(name, q, room, others); lack != "" && later.Given {
			later = answer{Reason: v1.PodReasonDeferred, Message: lack}
		}
	}
	return later
}

// lacks says what the node has too little of for one more request beside those of
// the pods that are there; empty: it has enough.
func lacks(name v1.ResourceName, want, room resource.Quantity, others []*v1.Pod) string {
	var used resource.Quantity
	for _, o := range others {
		used.Add(held(o)[name])
	}
	all := used.DeepCopy()
	all.Add(want)
	if all.Cmp(room) <= 0 {
		return ""
	}
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, unit(name, want), unit(name, used), unit(name, room))
}

// unit is an amount as people are told: processors in thousandths.
func unit(name v1.ResourceName, q resource.Quantity) int64 {
	if name == v1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}
