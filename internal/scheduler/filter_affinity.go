package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

// domain is one value of one topology label: one zone, one host.
type domain struct{ key, value string }

func domainOf(n *nodeInfo, key string) (domain, bool) {
	value, ok := n.node.Labels[key]
	return domain{key, value}, ok
}

// affinity is what a cycle knows about inter-pod affinity.
type affinity struct {
	// near counts, per domain, pods that match all of the pod's affinity terms.
	near map[domain]int
	// apart are the domains that the pod's anti-affinity forbids, refused those
	// that pods already running there forbid.
	apart, refused map[domain]bool
	// first says that nobody matches the affinity yet, except the pod itself:
	// the first of a group that wants to be together may go anywhere.
	first bool
}

// filterPodAffinity honours required inter-pod affinity and anti-affinity, that
// of the pod and that of the pods already there.
func filterPodAffinity() filter {
	return filter{
		name: "pod affinity", wakes: nodeAdded | nodeLabels | podGone | podCame | podLabels,
		check:   func(c *cycle, n *nodeInfo) bool { return affinityFault(c, n) == "" },
		explain: func(c *cycle, n *nodeInfo) []string { return []string{affinityFault(c, n)} },
		hopeless: func(c *cycle, n *nodeInfo) bool {
			return affinityFault(c, n) == faultNear
		},
	}
}

const (
	faultNear    = "node(s) didn't match pod affinity rules"
	faultApart   = "node(s) didn't match pod anti-affinity rules"
	faultRefused = "node(s) didn't satisfy existing pods anti-affinity rules"
)

func affinityFault(c *cycle, n *nodeInfo) string {
	a := c.affinity()
	for _, t := range c.pod.near {
		d, ok := domainOf(n, t.topology)
		if !ok || a.near[d] == 0 && !a.first {
			return faultNear
		}
	}
	for _, t := range c.pod.apart {
		if d, ok := domainOf(n, t.topology); ok && a.apart[d] {
			return faultApart
		}
	}
	for d := range a.refused {
		if n.node.Labels[d.key] == d.value {
			return faultRefused
		}
	}
	return ""
}

// affinity is computed once per cycle, when first asked for.
func (c *cycle) affinity() *affinity {
	if c.affinityCache != nil {
		return c.affinityCache
	}
	a := &affinity{near: map[domain]int{}, apart: map[domain]bool{}, refused: map[domain]bool{}}
	c.affinityCache = a
	own := len(c.pod.near)+len(c.pod.apart) > 0
	for _, n := range c.nodes {
		if !own && n.withTerms == 0 {
			continue
		}
		for _, other := range n.pods {
			c.meet(a, n, other)
		}
	}
	a.first = len(a.near) == 0 && c.matchesAll(c.pod.near, c.pod.pod)
	return a
}

// meet notes what one running pod means for the cycle's pod.
func (c *cycle) meet(a *affinity, n *nodeInfo, other *podInfo) {
	if len(c.pod.near) > 0 && c.matchesAll(c.pod.near, other.pod) {
		for _, t := range c.pod.near {
			if d, ok := domainOf(n, t.topology); ok {
				a.near[d]++
			}
		}
	}
	for i := range c.pod.apart {
		if c.pod.apart[i].matches(other.pod, c.namespace) {
			if d, ok := domainOf(n, c.pod.apart[i].topology); ok {
				a.apart[d] = true
			}
		}
	}
	for i := range other.apart {
		if other.apart[i].matches(c.pod.pod, c.namespace) {
			if d, ok := domainOf(n, other.apart[i].topology); ok {
				a.refused[d] = true
			}
		}
	}
}

func (c *cycle) matchesAll(terms []term, pod *corev1.Pod) bool {
	for i := range terms {
		if !terms[i].matches(pod, c.namespace) {
			return false
		}
	}
	return true
}
