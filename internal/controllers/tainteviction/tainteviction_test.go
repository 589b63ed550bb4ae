package tainteviction

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestPatience(t *testing.T) {
	taint := func(key string) corev1.Taint { return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute} }
	bears := func(key string, seconds int64) corev1.Toleration {
		toleration := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
		if seconds >= 0 {
			toleration.TolerationSeconds = &seconds
		}
		return toleration
	}
	cases := []struct {
		name        string
		tolerations []corev1.Toleration
		taints      []corev1.Taint
		stay        time.Duration
		limited     bool
	}{
		{"no taint", nil, nil, 0, false},
		{"not tolerated", nil, []corev1.Taint{taint("a")}, 0, true},
		{"for ever", []corev1.Toleration{bears("a", -1)}, []corev1.Taint{taint("a")}, 0, false},
		{"for a while", []corev1.Toleration{bears("a", 300)}, []corev1.Taint{taint("a")}, 300 * time.Second, true},
		{"the shortest counts", []corev1.Toleration{bears("a", 300), bears("b", 5)}, []corev1.Taint{taint("a"), taint("b")}, 5 * time.Second, true},
		{"one is not tolerated", []corev1.Toleration{bears("a", 300)}, []corev1.Taint{taint("a"), taint("b")}, 0, true},
		{"other effects do not evict", nil, []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}, 0, false},
	}
	for _, c := range cases {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: c.tolerations}}
		if stay, limited := patience(pod, c.taints); stay != c.stay || limited != c.limited {
			t.Errorf("%s: %s, %t; want %s, %t", c.name, stay, limited, c.stay, c.limited)
		}
	}
}
