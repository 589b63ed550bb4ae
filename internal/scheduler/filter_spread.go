package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// constraint is one topology spread constraint.
type constraint struct {
	maxSkew, minDomains int
	key                 string
	hard                bool
	selector            labels.Selector
	// selfMatch is 1 if the pod counts itself.
	selfMatch                 int
	honorAffinity, honorTaint bool
}

func constraintsOf(pod *corev1.Pod) []constraint {
	var list []constraint
	for i := range pod.Spec.TopologySpreadConstraints {
		s := &pod.Spec.TopologySpreadConstraints[i]
		c := constraint{
			maxSkew: int(s.MaxSkew), minDomains: 1, key: s.TopologyKey,
			hard:     s.WhenUnsatisfiable == corev1.DoNotSchedule,
			selector: selectorOf(withLabelKeys(s.LabelSelector, s.MatchLabelKeys, pod.Labels)),
			// The defaults of the API: honour the pod's affinity, ignore taints.
			honorAffinity: s.NodeAffinityPolicy == nil || *s.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
			honorTaint:    s.NodeTaintsPolicy != nil && *s.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
		}
		if s.MinDomains != nil {
			c.minDomains = int(*s.MinDomains)
		}
		if c.selector.Matches(labels.Set(pod.Labels)) {
			c.selfMatch = 1
		}
		list = append(list, c)
	}
	return list
}

// withLabelKeys narrows the selector to pods that share the pod's values of the
// keys (KEP-3243); the API server has usually done so already.
func withLabelKeys(s *metav1.LabelSelector, keys []string, own map[string]string) *metav1.LabelSelector {
	if s == nil || len(keys) == 0 {
		return s
	}
	narrow := s.DeepCopy()
	for _, key := range keys {
		if value, ok := own[key]; ok {
			narrow.MatchExpressions = append(narrow.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value},
			})
		}
	}
	return narrow
}

// counts are the matching pods per value of one constraint's label.
type counts map[string]int

// least is the smallest count, zero while there are fewer domains than wanted.
func (m counts) least(minDomains int) int {
	if len(m) < minDomains || len(m) == 0 {
		return 0
	}
	first, least := true, 0
	for _, n := range m {
		if first || n < least {
			first, least = false, n
		}
	}
	return least
}

// filterSpread honours topology spread constraints that must not be broken.
func filterSpread() filter {
	return filter{
		name: "topology spread", wakes: nodeAdded | nodeLabels | nodeTaints | podGone | podCame | podLabels,
		check:   func(c *cycle, n *nodeInfo) bool { return spreadFault(c, n) == "" },
		explain: func(c *cycle, n *nodeInfo) []string { return []string{spreadFault(c, n)} },
		hopeless: func(c *cycle, n *nodeInfo) bool {
			return spreadFault(c, n) == faultSpreadLabel
		},
	}
}

const (
	faultSpread      = "node(s) didn't match pod topology spread constraints"
	faultSpreadLabel = faultSpread + " (missing required label)"
)

func spreadFault(c *cycle, n *nodeInfo) string {
	for i, s := range c.pod.spread {
		if !s.hard {
			continue
		}
		value, ok := n.node.Labels[s.key]
		if !ok {
			return faultSpreadLabel
		}
		m := c.spreadCounts()[i]
		if m[value]+s.selfMatch-m.least(s.minDomains) > s.maxSkew {
			return faultSpread
		}
	}
	return ""
}

// spreadCounts counts, once per cycle, the matching pods for each constraint,
// over the nodes that the constraint takes into account.
func (c *cycle) spreadCounts() []counts {
	if c.spreadCache != nil {
		return c.spreadCache
	}
	c.spreadCache = make([]counts, len(c.pod.spread))
	for i, s := range c.pod.spread {
		m := counts{}
		c.spreadCache[i] = m
		for _, n := range c.nodes {
			value, ok := n.node.Labels[s.key]
			if !ok || !c.counted(s, n) {
				continue
			}
			m[value] += c.matching(s, n)
		}
	}
	return c.spreadCache
}

// counted reports whether the node's pods and domain count for the constraint.
func (c *cycle) counted(s constraint, n *nodeInfo) bool {
	for _, other := range c.pod.spread {
		if _, ok := n.node.Labels[other.key]; !ok && other.hard == s.hard {
			return false
		}
	}
	if s.honorAffinity {
		if ok, err := c.pod.required.Match(n.node); !ok || err != nil {
			return false
		}
	}
	return !s.honorTaint || untolerated(c.pod.pod, n.node) == nil
}

func (c *cycle) matching(s constraint, n *nodeInfo) int {
	count := 0
	for _, other := range n.pods {
		if other.pod.Namespace == c.pod.pod.Namespace && other.pod.DeletionTimestamp == nil &&
			s.selector.Matches(labels.Set(other.pod.Labels)) {
			count++
		}
	}
	return count
}
