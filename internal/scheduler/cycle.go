package scheduler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// cycle is the choice of a node for one pod.
type cycle struct {
	pod       *podInfo
	nodes     []*nodeInfo
	namespace func(string) labels.Set
	nominated map[string][]*podInfo

	affinityCache *affinity
	spreadCache   []counts
}

// verdict is the result of a cycle: a node, or why there is none.
type verdict struct {
	node string
	// reasons counts nodes per reason, hopeless are the nodes where preemption
	// cannot help, wakes the events after which another try makes sense.
	reasons  map[string]int
	hopeless map[string]bool
	wakes    event
	total    int
}

// decide runs the pipeline: filter every node, then score those that passed.
func (c *cycle) decide(pipeline []filter, ranking []score) verdict {
	v := verdict{reasons: map[string]int{}, hopeless: map[string]bool{}, total: len(c.nodes)}
	if len(c.nodes) == 0 {
		v.wakes = nodeAdded
		return v
	}
	var fit []*nodeInfo
	for _, n := range c.nodes {
		if f := c.reject(pipeline, n); f != nil {
			v.note(c, f, n)
			continue
		}
		fit = append(fit, n)
	}
	switch len(fit) {
	case 0:
	case 1:
		v.node = fit[0].name
	default:
		v.node = c.choose(ranking, fit).name
	}
	return v
}

// reject returns the first filter that refuses the node, or nil. Where other
// pods of at least the same priority wait for victims on the node, the pod must
// fit beside them too.
func (c *cycle) reject(pipeline []filter, n *nodeInfo) *filter {
	if f := c.rejects(pipeline, n); f != nil {
		return f
	}
	var expected []*podInfo
	for _, p := range c.nominated[n.name] {
		if p.pod.UID != c.pod.pod.UID && p.priority >= c.pod.priority {
			expected = append(expected, p)
		}
	}
	if len(expected) == 0 {
		return nil
	}
	full := n.clone()
	for _, p := range expected {
		full.add(p)
	}
	return c.rejects(pipeline, full)
}

func (c *cycle) rejects(pipeline []filter, n *nodeInfo) *filter {
	for i := range pipeline {
		if !pipeline[i].check(c, n) {
			return &pipeline[i]
		}
	}
	return nil
}

func (v *verdict) note(c *cycle, f *filter, n *nodeInfo) {
	reasons := f.explain(c, n)
	if len(reasons) == 0 || reasons[0] == "" {
		// It failed only beside pods that are expected on the node.
		reasons = []string{"node(s) are reserved for pods of higher priority"}
	}
	for _, reason := range reasons {
		v.reasons[reason]++
	}
	v.wakes |= f.wakes
	if f.hopeless != nil && f.hopeless(c, n) {
		v.hopeless[n.name] = true
	}
}

// choose returns the node with the highest weighted sum, any of several.
func (c *cycle) choose(ranking []score, fit []*nodeInfo) *nodeInfo {
	totals := make([]int64, len(fit))
	for _, s := range ranking {
		for i, value := range s.rank(c, fit) {
			totals[i] += s.weight * value
		}
	}
	top := slices.Max(totals)
	var winners []*nodeInfo
	for i, total := range totals {
		if total == top {
			winners = append(winners, fit[i])
		}
	}
	return winners[rand.IntN(len(winners))]
}

// message says why there is no node, in upstream's words and order.
func (v *verdict) message() string {
	if v.total == 0 {
		return "no nodes available to schedule pods"
	}
	return fmt.Sprintf("0/%d nodes are available: %s.", v.total, histogram(v.reasons))
}

func histogram(reasons map[string]int) string {
	var list []string
	for reason, count := range reasons {
		list = append(list, fmt.Sprintf("%d %s", count, reason))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
