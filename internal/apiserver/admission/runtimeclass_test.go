package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

func TestMergeTolerations(t *testing.T) {
	key := func(k, v string) corev1.Toleration {
		return corev1.Toleration{Key: k, Operator: corev1.TolerationOpEqual, Value: v, Effect: corev1.TaintEffectNoSchedule}
	}
	exists := func(k string) corev1.Toleration {
		return corev1.Toleration{Key: k, Operator: corev1.TolerationOpExists}
	}
	for name, c := range map[string]struct{ first, second, want []corev1.Toleration }{
		"both stay":            {[]corev1.Toleration{key("a", "1")}, []corev1.Toleration{key("b", "1")}, []corev1.Toleration{key("a", "1"), key("b", "1")}},
		"the same once":        {[]corev1.Toleration{key("a", "1")}, []corev1.Toleration{key("a", "1")}, []corev1.Toleration{key("a", "1")}},
		"a wider one later":    {[]corev1.Toleration{key("a", "1")}, []corev1.Toleration{exists("a")}, []corev1.Toleration{exists("a")}},
		"a wider one earlier":  {[]corev1.Toleration{exists("")}, []corev1.Toleration{key("a", "1")}, []corev1.Toleration{exists("")}},
		"another value":        {[]corev1.Toleration{key("a", "1")}, []corev1.Toleration{key("a", "2")}, []corev1.Toleration{key("a", "1"), key("a", "2")}},
		"a shorter time stays": {[]corev1.Toleration{{Key: "a", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(5))}}, []corev1.Toleration{{Key: "a", Operator: "Exists", Effect: "NoExecute"}}, []corev1.Toleration{{Key: "a", Operator: "Exists", Effect: "NoExecute"}}},
	} {
		if got := mergeTolerations(c.first, c.second); !equality.Semantic.DeepEqual(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
