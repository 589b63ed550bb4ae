package controllers_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPreemption: a pod of a higher priority takes the room of a lower one.
func TestPreemption(t *testing.T) {
	ns := scratch(t)
	within(t, "service account", func() (bool, string) {
		_, err := shared.client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	create := func(name, class string) {
		t.Helper()
		_, err := shared.client.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{PriorityClassName: class, Containers: []corev1.Container{{Name: "c", Image: "x", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("60")}}}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	running := func(name string) func() (bool, string) {
		return func() (bool, string) {
			p, err := shared.client.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
			return err == nil && p.Status.Phase == corev1.PodRunning, fmt.Sprintf("%v %+v", err, p.Status)
		}
	}
	create("low", "")
	within(t, "low runs", running("low"))
	create("high", "system-cluster-critical")
	within(t, "high runs", running("high"))
	_, err := shared.client.CoreV1().Pods(ns).Get(t.Context(), "low", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("low is still there: %v", err)
	}
	within(t, "event", func() (bool, string) {
		list, err := shared.client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=Preempted,involvedObject.name=low"})
		return err == nil && len(list.Items) == 1, fmt.Sprint(err)
	})
}
