package scheduler

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// filterResources keeps the sum of requests within what the node can allocate,
// and the number of pods within its limit. Requests include init containers
// (the largest, sidecars added) and the pod's overhead.
func filterResources() filter {
	return filter{
		name: "resources", wakes: nodeAdded | nodeRoom | podGone,
		check:    func(c *cycle, n *nodeInfo) bool { return len(lacks(c.pod, n, true)) == 0 },
		explain:  func(c *cycle, n *nodeInfo) []string { return lacks(c.pod, n, false) },
		hopeless: func(c *cycle, n *nodeInfo) bool { return exceeds(c.pod.wants, n.capacity) },
	}
}

// lacks names what the node has too little of; with first it stops at one.
func lacks(p *podInfo, n *nodeInfo, first bool) []string {
	var list []string
	add := func(reason string) bool {
		list = append(list, reason)
		return first
	}
	if len(n.pods)+1 > n.maxPods && add("Too many pods") {
		return list
	}
	w := p.wants
	if w.cpu > 0 && w.cpu > n.capacity.cpu-n.used.cpu && add(insufficient(corev1.ResourceCPU)) {
		return list
	}
	if w.memory > 0 && w.memory > n.capacity.memory-n.used.memory && add(insufficient(corev1.ResourceMemory)) {
		return list
	}
	if w.storage > 0 && w.storage > n.capacity.storage-n.used.storage && add(insufficient(corev1.ResourceEphemeralStorage)) {
		return list
	}
	for name, want := range w.others {
		if want > 0 && want > n.capacity.others[name]-n.used.others[name] && add(insufficient(name)) {
			return list
		}
	}
	return list
}

func insufficient(name corev1.ResourceName) string { return fmt.Sprintf("Insufficient %s", name) }

// exceeds reports whether even an empty node would be too small.
func exceeds(w, capacity amounts) bool {
	if w.cpu > capacity.cpu || w.memory > capacity.memory || w.storage > 0 && w.storage > capacity.storage {
		return true
	}
	for name, want := range w.others {
		if want > capacity.others[name] {
			return true
		}
	}
	return false
}
