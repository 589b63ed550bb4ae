package apiserver_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/internal/apiserver/apitest"
)

// TestRuntimeClass creates classes, good and bad, and pods of them.
func TestRuntimeClass(t *testing.T) {
	s := apitest.Start(t)
	classes := s.Client().NodeV1().RuntimeClasses()
	overhead := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("30Mi"), corev1.ResourceCPU: resource.MustParse("1500u")}
	class, err := classes.Create(t.Context(), &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "heavy"}, Handler: "crun", Overhead: &nodev1.Overhead{PodFixed: overhead},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"crun": "yes"}, Tolerations: []corev1.Toleration{{Key: "crun", Operator: corev1.TolerationOpExists}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := class.Overhead.PodFixed[corev1.ResourceCPU]; got.String() != "2m" {
		t.Errorf("overhead %s, want it rounded up as a pod's", got.String())
	}
	class.Handler = "runc"
	if _, err := classes.Update(t.Context(), class, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "handler: Invalid value: \"runc\": field is immutable") {
		t.Errorf("another handler: %v", err)
	}
	for words, bad := range map[string]*nodev1.RuntimeClass{
		`handler: Invalid value: "Up"`:         {Handler: "Up"},
		`handler: Invalid value: ""`:           {},
		`overhead.limits[cpu]: Invalid value:`: {Handler: "a", Overhead: &nodev1.Overhead{PodFixed: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("-1")}}},
		`scheduling.nodeSelector: Invalid`:     {Handler: "a", Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"!": "x"}}},
		`scheduling.tolerations[0].operator`:   {Handler: "a", Scheduling: &nodev1.Scheduling{Tolerations: []corev1.Toleration{{Key: "a", Operator: "No"}}}},
	} {
		bad.Name = "bad"
		if _, err := classes.Create(t.Context(), bad, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}

	pods := s.Client().CoreV1().Pods(s.Namespace(t))
	of := func(name, class string) *corev1.Pod {
		p := newPod(name)
		p.Spec.RuntimeClassName = &class
		return p
	}
	pod, err := pods.Create(t.Context(), of("good", "heavy"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := pod.Spec.Overhead[corev1.ResourceMemory]; got.String() != "30Mi" || pod.Spec.NodeSelector["crun"] != "yes" || len(pod.Spec.Tolerations) != 3 {
		t.Errorf("%+v", pod.Spec)
	}
	other := of("other", "heavy")
	other.Spec.Overhead = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")}
	elsewhere := of("elsewhere", "heavy")
	elsewhere.Spec.NodeSelector = map[string]string{"crun": "no"}
	own := newPod("own")
	own.Spec.Overhead = overhead
	for words, bad := range map[string]*corev1.Pod{
		`pod rejected: RuntimeClass "none" not found`: of("none", "none"),
		"doesn't match RuntimeClass's defined":        other,
		"conflict: runtimeClass.scheduling":           elsewhere,
		"Overhead set without corresponding":          own,
	} {
		if _, err := pods.Create(t.Context(), bad, metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}
