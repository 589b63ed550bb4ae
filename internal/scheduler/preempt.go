package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// eviction is a way to make room on one node.
type eviction struct {
	node    string
	victims []*podInfo
}

// preempt looks for the node where the pod fits after the fewest and least
// important pods of a lower priority have left. The message is the second half
// of the pod's condition.
func (c *cycle) preempt(pipeline []filter, v verdict) (*eviction, string) {
	if policy := c.pod.pod.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		return nil, "not eligible due to preemptionPolicy=Never."
	}
	if c.victimsLeave() {
		return nil, "not eligible due to a terminating pod on the nominated node."
	}
	reasons := map[string]int{}
	var ways []*eviction
	for _, n := range c.nodes {
		if v.hopeless[n.name] {
			reasons["Preemption is not helpful for scheduling"]++
			continue
		}
		if way := c.makeRoom(pipeline, n); way != nil {
			ways = append(ways, way)
			continue
		}
		reasons["No preemption victims found for incoming pod"]++
	}
	if len(ways) == 0 {
		return nil, fmt.Sprintf("0/%d nodes are available: %s.", len(c.nodes), histogram(reasons))
	}
	return slices.MinFunc(ways, compareEvictions), ""
}

// victimsLeave reports whether the pod already made room that is not free yet.
func (c *cycle) victimsLeave() bool {
	nominated := c.pod.pod.Status.NominatedNodeName
	if nominated == "" {
		return false
	}
	for _, n := range c.nodes {
		if n.name != nominated {
			continue
		}
		for _, p := range n.pods {
			if p.priority < c.pod.priority && p.pod.DeletionTimestamp != nil {
				return true
			}
		}
	}
	return false
}

// makeRoom returns the victims on one node, or nil if their leaving is no help.
func (c *cycle) makeRoom(pipeline []filter, n *nodeInfo) *eviction {
	var lower []*podInfo
	for _, p := range n.pods {
		if p.priority < c.pod.priority {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return nil
	}
	trial := n.clone()
	for _, p := range lower {
		trial.remove(p.pod.UID)
	}
	if !c.fitsAfter(pipeline, n, trial) {
		return nil
	}
	// Spare whom we can, the most important and longest running first.
	slices.SortFunc(lower, func(a, b *podInfo) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), started(a).Compare(started(b)))
	})
	way := &eviction{node: n.name}
	for _, p := range lower {
		trial.add(p)
		if !c.fitsAfter(pipeline, n, trial) {
			trial.remove(p.pod.UID)
			way.victims = append(way.victims, p)
		}
	}
	if len(way.victims) == 0 {
		return nil
	}
	return way
}

// fitsAfter asks the pipeline with trial in the place of n.
func (c *cycle) fitsAfter(pipeline []filter, n, trial *nodeInfo) bool {
	what := &cycle{pod: c.pod, namespace: c.namespace, nodes: slices.Clone(c.nodes)}
	what.nodes[slices.Index(what.nodes, n)] = trial
	return what.rejects(pipeline, trial) == nil
}

func started(p *podInfo) time.Time {
	if p.pod.Status.StartTime == nil {
		return time.Time{}
	}
	return p.pod.Status.StartTime.Time
}

// compareEvictions prefers the lowest most important victim, then the lowest
// sum of priorities, then the fewest victims, then a name, to be repeatable.
func compareEvictions(a, b *eviction) int {
	return cmp.Or(
		cmp.Compare(a.victims[0].priority, b.victims[0].priority),
		cmp.Compare(a.sum(), b.sum()),
		cmp.Compare(len(a.victims), len(b.victims)),
		cmp.Compare(a.node, b.node),
	)
}

// sum adds priorities, shifted so that one more victim never lowers it.
func (e *eviction) sum() int64 {
	var total int64
	for _, p := range e.victims {
		total += int64(p.priority) + 1<<31
	}
	return total
}
