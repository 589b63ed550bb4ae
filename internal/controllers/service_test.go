package controllers_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestEndpointsByHandAreMirrored(t *testing.T) {
	ns := scratch(t)
	core := shared.client.CoreV1()
	if _, err := core.Services(ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "manual"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e, err := core.Endpoints(ns).Create(t.Context(), &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: "manual"},
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: "10.1.2.3"}}, Ports: []corev1.EndpointPort{{Port: 80, Protocol: corev1.ProtocolTCP}}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sees := func(want string) func() (bool, string) {
		return func() (bool, string) {
			list, err := shared.client.DiscoveryV1().EndpointSlices(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=manual"})
			if err != nil {
				return false, err.Error()
			}
			got := ""
			for _, s := range list.Items {
				for _, e := range s.Endpoints {
					got += fmt.Sprintf("%s:%d ", e.Addresses[0], *s.Ports[0].Port)
				}
			}
			return got == want, got
		}
	}
	within(t, "mirror", sees("10.1.2.3:80 "))
	e.Subsets[0].Addresses[0].IP = "10.2.3.4"
	e.Subsets[0].Ports[0].Port = 81
	if _, err := core.Endpoints(ns).Update(t.Context(), e, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "mirror of the update", sees("10.2.3.4:81 "))
	if err := core.Endpoints(ns).Delete(t.Context(), "manual", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "no mirror", sees(""))
}

func TestNoExecuteTaintEvicts(t *testing.T) {
	ns := scratch(t)
	within(t, "service account", func() (bool, string) {
		_, err := shared.client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	seconds := int64(1)
	for name, tolerations := range map[string][]corev1.Toleration{
		"weak": nil, "patient": {{Key: "t", Operator: corev1.TolerationOpExists}},
		"brief": {{Key: "t", Operator: corev1.TolerationOpExists, TolerationSeconds: &seconds, Effect: corev1.TaintEffectNoExecute}},
	} {
		_, err := shared.client.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{Tolerations: tolerations, Containers: []corev1.Container{{Name: "c", Image: "x"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		within(t, "running", func() (bool, string) {
			p, err := shared.client.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
			return err == nil && p.Status.Phase == corev1.PodRunning, fmt.Sprint(err)
		})
	}
	taints := func(patch string) {
		t.Helper()
		if _, err := shared.client.CoreV1().Nodes().Patch(t.Context(), nodeName, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	taints(`{"spec":{"taints":[{"key":"t","effect":"NoExecute"}]}}`)
	defer taints(`{"spec":{"taints":null}}`)
	began := time.Now()
	gone := func(name string) func() (bool, string) {
		return func() (bool, string) {
			_, err := shared.client.CoreV1().Pods(ns).Get(t.Context(), name, metav1.GetOptions{})
			return apierrors.IsNotFound(err), fmt.Sprint(err)
		}
	}
	within(t, "weak gone", gone("weak"))
	within(t, "brief gone", gone("brief"))
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("the pod with a second's patience went after %s", took)
	}
	if _, err := shared.client.CoreV1().Pods(ns).Get(t.Context(), "patient", metav1.GetOptions{}); err != nil {
		t.Errorf("the pod that tolerates the taint: %v", err)
	}
}
