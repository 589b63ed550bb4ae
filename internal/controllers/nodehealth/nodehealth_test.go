package nodehealth

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestTaintsFollowConditions(t *testing.T) {
	now := time.Unix(1000, 0)
	node := func(ready corev1.ConditionStatus, change ...func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
		n.Spec.Taints = []corev1.Taint{{Key: "theirs", Effect: corev1.TaintEffectNoExecute}}
		for _, c := range change {
			c(n)
		}
		return n
	}
	cases := []struct {
		name  string
		node  *corev1.Node
		evict bool
		want  []string
	}{
		{"healthy", node(corev1.ConditionTrue), true, nil},
		{"cordoned", node(corev1.ConditionTrue, func(n *corev1.Node) { n.Spec.Unschedulable = true }), true, []string{"node.kubernetes.io/unschedulable:NoSchedule"}},
		{"not ready", node(corev1.ConditionFalse), true, []string{"node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"}},
		{"unreachable", node(corev1.ConditionUnknown), true, []string{"node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}},
		{"nobody is heard", node(corev1.ConditionUnknown), false, []string{"node.kubernetes.io/unreachable:NoSchedule"}},
		{"disk pressure", node(corev1.ConditionTrue, func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue})
		}), true, []string{"node.kubernetes.io/disk-pressure:NoSchedule"}},
		{"recovered", node(corev1.ConditionTrue, func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute})
		}), true, nil},
	}
	for _, c := range cases {
		var got []string
		for _, taint := range taintsOf(c.node, c.evict, now)[1:] {
			got = append(got, taint.Key+":"+string(taint.Effect))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
