package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	schedv1 "k8s.io/component-helpers/scheduling/corev1"
)

func always(*cycle, *nodeInfo) bool { return true }

func says(reason string) func(*cycle, *nodeInfo) []string {
	return func(*cycle, *nodeInfo) []string { return []string{reason} }
}

// filterNodeName keeps a pod that names its node (spec.nodeName is set before
// scheduling only by those who bypass the scheduler) to that node.
func filterNodeName() filter {
	return filter{
		name: "node name", wakes: nodeAdded, hopeless: always,
		check: func(c *cycle, n *nodeInfo) bool {
			return c.pod.pod.Spec.NodeName == "" || c.pod.pod.Spec.NodeName == n.name
		},
		explain: says("node(s) didn't match the requested node name"),
	}
}

var unschedulableTaint = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

// filterUnschedulable honours `kubectl cordon`.
func filterUnschedulable() filter {
	return filter{
		name: "unschedulable", wakes: nodeAdded | nodeTaints, hopeless: always,
		check: func(c *cycle, n *nodeInfo) bool {
			return !n.node.Spec.Unschedulable || tolerates(c.pod.pod, &unschedulableTaint)
		},
		explain: says("node(s) were unschedulable"),
	}
}

// filterTaints honours taints with the effects NoSchedule and NoExecute.
func filterTaints() filter {
	return filter{
		name: "taints", wakes: nodeAdded | nodeTaints, hopeless: always,
		check:   func(c *cycle, n *nodeInfo) bool { return untolerated(c.pod.pod, n.node) == nil },
		explain: says("node(s) had untolerated taint(s)"),
	}
}

// untolerated returns the first taint that keeps the pod away, or nil.
func untolerated(pod *corev1.Pod, node *corev1.Node) *corev1.Taint {
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(pod, t) {
			return t
		}
	}
	return nil
}

func tolerates(pod *corev1.Pod, taint *corev1.Taint) bool {
	return schedv1.TolerationsTolerateTaint(klog.Background(), pod.Spec.Tolerations, taint, true)
}

// filterNodeAffinity honours nodeSelector and required node affinity.
func filterNodeAffinity() filter {
	return filter{
		name: "node affinity", wakes: nodeAdded | nodeLabels, hopeless: always,
		check: func(c *cycle, n *nodeInfo) bool {
			ok, err := c.pod.required.Match(n.node)
			return ok && err == nil
		},
		explain: says("node(s) didn't match Pod's node affinity/selector"),
	}
}

// filterHostPorts keeps two pods from the same port of the node.
func filterHostPorts() filter {
	return filter{
		name: "host ports", wakes: nodeAdded | podGone,
		check: func(c *cycle, n *nodeInfo) bool {
			for _, want := range c.pod.ports {
				for _, other := range n.pods {
					if slices.ContainsFunc(other.ports, want.clashes) {
						return false
					}
				}
			}
			return true
		},
		explain: says("node(s) didn't have free ports for the requested pod ports"),
	}
}
