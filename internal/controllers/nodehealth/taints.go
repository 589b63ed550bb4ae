package nodehealth

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ours are the taints that this controller puts on and takes off; all others
// are left as they are.
var ours = []string{
	corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable, corev1.TaintNodeUnschedulable, corev1.TaintNodeMemoryPressure,
	corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeNetworkUnavailable,
}

// pressures are conditions that keep new pods away while true.
var pressures = []struct {
	condition corev1.NodeConditionType
	taint     string
}{
	{corev1.NodeMemoryPressure, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.TaintNodeDiskPressure},
	{corev1.NodePIDPressure, corev1.TaintNodePIDPressure},
	{corev1.NodeNetworkUnavailable, corev1.TaintNodeNetworkUnavailable},
}

// taintsOf computes the node's taints from its conditions. Without evict no
// NoExecute taint is added.
func taintsOf(node *corev1.Node, evict bool, now time.Time) []corev1.Taint {
	var want []corev1.Taint
	add := func(key string, effect corev1.TaintEffect) {
		want = append(want, corev1.Taint{Key: key, Effect: effect})
	}
	if node.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	if ready := condition(node, corev1.NodeReady); ready != nil && ready.Status != corev1.ConditionTrue {
		key := corev1.TaintNodeNotReady
		if ready.Status == corev1.ConditionUnknown {
			key = corev1.TaintNodeUnreachable
		}
		add(key, corev1.TaintEffectNoSchedule)
		if evict {
			add(key, corev1.TaintEffectNoExecute)
		}
	}
	for _, p := range pressures {
		if c := condition(node, p.condition); c != nil && c.Status == corev1.ConditionTrue {
			add(p.taint, corev1.TaintEffectNoSchedule)
		}
	}
	return merge(node.Spec.Taints, want, now)
}

// merge keeps foreign taints and the time of those that stay.
func merge(have, want []corev1.Taint, now time.Time) []corev1.Taint {
	var list []corev1.Taint
	for _, t := range have {
		if !slices.Contains(ours, t.Key) || slices.ContainsFunc(want, func(w corev1.Taint) bool { return w.MatchTaint(&t) }) {
			list = append(list, t)
		}
	}
	for _, w := range want {
		if !slices.ContainsFunc(list, func(t corev1.Taint) bool { return w.MatchTaint(&t) }) {
			added := metav1.NewTime(now)
			w.TimeAdded = &added
			list = append(list, w)
		}
	}
	return list
}

// writeTaints replaces the list whole, in exactly the version it was read from.
func (c *Controller) writeTaints(ctx context.Context, node *corev1.Node, want []corev1.Taint) error {
	if slices.EqualFunc(node.Spec.Taints, want, func(a, b corev1.Taint) bool { return a.MatchTaint(&b) && a.Value == b.Value }) {
		return nil
	}
	// The list has no merge key: what is sent replaces it, and null empties it.
	return c.patchNode(ctx, node, map[string]any{
		"metadata": map[string]any{"resourceVersion": node.ResourceVersion}, "spec": map[string]any{"taints": want},
	})
}

func condition(n *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == kind {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}
