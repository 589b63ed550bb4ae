package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "skiff.dev/hello:1"}}},
			},
		},
	}
}

func available(t *testing.T, namespace, name string, want int32) func() (bool, string) {
	return func() (bool, string) {
		d, err := shared.client.AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		s := d.Status
		return s.ObservedGeneration == d.Generation && s.AvailableReplicas == want && s.UpdatedReplicas == want && s.Replicas == want,
			fmt.Sprintf("%+v", s)
	}
}

func TestNamespaceGetsItsDefaults(t *testing.T) {
	ns := scratch(t)
	within(t, "service account", func() (bool, string) {
		_, err := shared.client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	get := func() (bool, string) {
		m, err := shared.client.CoreV1().ConfigMaps(ns).Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil && strings.HasPrefix(m.Data["ca.crt"], "-----BEGIN"), fmt.Sprint(err)
	}
	within(t, "root certificate", get)
	if err := shared.client.CoreV1().ConfigMaps(ns).Delete(t.Context(), "kube-root-ca.crt", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "root certificate again", get)
}

func TestDeploymentLife(t *testing.T) {
	ns := scratch(t)
	apps := shared.client.AppsV1()
	began := time.Now()
	if _, err := apps.Deployments(ns).Create(t.Context(), newDeployment("web", 100), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "100 pods", available(t, ns, "web", 100))
	t.Logf("0 to 100 available: %s", time.Since(began))

	d, err := apps.Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Annotations["deployment.kubernetes.io/revision"]; got != "1" {
		t.Errorf("revision is %q, want 1", got)
	}
	for _, c := range d.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			t.Errorf("condition %s is %s: %s", c.Type, c.Status, c.Message)
		}
	}
	scale(t, ns, "web", 4)
	within(t, "4 pods", available(t, ns, "web", 4))

	image := func(name string) {
		t.Helper()
		patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"c","image":%q}]}}}}`, name)
		if _, err := apps.Deployments(ns).Patch(t.Context(), "web", "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	image("skiff.dev/hello:2")
	within(t, "rollout", available(t, ns, "web", 4))
	image("skiff.dev/hello:1")
	within(t, "rollback", available(t, ns, "web", 4))
	sets, err := apps.ReplicaSets(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(sets.Items) != 2 {
		t.Fatalf("replica sets: %d, %v; want 2", len(sets.Items), err)
	}
	d, _ = apps.Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
	if got := d.Annotations["deployment.kubernetes.io/revision"]; got != "3" {
		t.Errorf("revision after rollback is %q, want 3", got)
	}

	began = time.Now()
	foreground := metav1.DeletePropagationForeground
	if err := apps.Deployments(ns).Delete(t.Context(), "web", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	within(t, "foreground deletion", func() (bool, string) {
		_, err := apps.Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
		pods, _ := shared.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if apierrors.IsNotFound(err) && len(pods.Items) > 0 {
			t.Errorf("the deployment went before %d of its pods", len(pods.Items))
		}
		return apierrors.IsNotFound(err), fmt.Sprint(err, len(pods.Items))
	})
	t.Logf("foreground deletion: %s", time.Since(began))
}

func scale(t *testing.T, ns, name string, to int32) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"replicas":%d}}`, to)
	_, err := shared.client.AppsV1().Deployments(ns).Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
}

func TestScaleToZeroAndBackgroundDeletion(t *testing.T) {
	ns := scratch(t)
	if _, err := shared.client.AppsV1().Deployments(ns).Create(t.Context(), newDeployment("web", 100), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "100 pods", available(t, ns, "web", 100))
	none := func() (bool, string) {
		pods, err := shared.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		return err == nil && len(pods.Items) == 0, fmt.Sprint(len(pods.Items), err)
	}
	began := time.Now()
	scale(t, ns, "web", 0)
	within(t, "no pods", none)
	t.Logf("100 to 0: %s", time.Since(began))
	scale(t, ns, "web", 50)
	within(t, "50 pods", available(t, ns, "web", 50))
	began = time.Now()
	if err := shared.client.AppsV1().Deployments(ns).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "background deletion", none)
	t.Logf("background deletion of 50: %s", time.Since(began))
}

func TestOrphanAndAdoption(t *testing.T) {
	ns := scratch(t)
	apps := shared.client.AppsV1()
	if _, err := apps.Deployments(ns).Create(t.Context(), newDeployment("web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "2 pods", available(t, ns, "web", 2))
	orphan := metav1.DeletePropagationOrphan
	if err := apps.Deployments(ns).Delete(t.Context(), "web", metav1.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
		t.Fatal(err)
	}
	var uid string
	within(t, "orphaned replica set", func() (bool, string) {
		_, err := apps.Deployments(ns).Get(t.Context(), "web", metav1.GetOptions{})
		sets, _ := apps.ReplicaSets(ns).List(t.Context(), metav1.ListOptions{})
		if len(sets.Items) != 1 {
			t.Fatalf("%d replica sets", len(sets.Items))
		}
		uid = string(sets.Items[0].UID)
		return apierrors.IsNotFound(err) && len(sets.Items[0].OwnerReferences) == 0, fmt.Sprint(err, sets.Items[0].OwnerReferences)
	})
	if _, err := apps.Deployments(ns).Create(t.Context(), newDeployment("web", 2), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "adoption", available(t, ns, "web", 2))
	sets, _ := apps.ReplicaSets(ns).List(t.Context(), metav1.ListOptions{})
	if len(sets.Items) != 1 || string(sets.Items[0].UID) != uid || len(sets.Items[0].OwnerReferences) != 1 {
		t.Errorf("replica sets after adoption: %+v", sets.Items)
	}
	// A pod whose label changes is released and replaced.
	pods, _ := shared.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	pod := pods.Items[0]
	if _, err := shared.client.CoreV1().Pods(ns).Patch(t.Context(), pod.Name, "application/merge-patch+json", []byte(`{"metadata":{"labels":{"app":"other"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "release", func() (bool, string) {
		p, err := shared.client.CoreV1().Pods(ns).Get(t.Context(), pod.Name, metav1.GetOptions{})
		all, _ := shared.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		return err == nil && len(p.OwnerReferences) == 0 && len(all.Items) == 3, fmt.Sprint(err, len(all.Items), p.OwnerReferences)
	})
}

func TestRecreateAndService(t *testing.T) {
	ns := scratch(t)
	d := newDeployment("web", 3)
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	if _, err := shared.client.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := shared.client.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	endpoints := func(want int) func() (bool, string) {
		return func() (bool, string) {
			slices, err := shared.client.DiscoveryV1().EndpointSlices(ns).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(slices.Items) != 1 {
				return false, fmt.Sprint(len(slices.Items), err)
			}
			ready := readyEndpoints(slices.Items[0].Endpoints)
			old, err := shared.client.CoreV1().Endpoints(ns).Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			addresses := 0
			for _, s := range old.Subsets {
				addresses += len(s.Addresses)
			}
			return ready == want && addresses == want, fmt.Sprint(ready, addresses)
		}
	}
	within(t, "3 pods", available(t, ns, "web", 3))
	within(t, "3 endpoints", endpoints(3))
	if _, err := shared.client.AppsV1().Deployments(ns).Patch(t.Context(), "web", "application/strategic-merge-patch+json",
		[]byte(`{"spec":{"template":{"metadata":{"annotations":{"v":"2"}}}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "recreated", available(t, ns, "web", 3))
	within(t, "3 endpoints", endpoints(3))
	scale(t, ns, "web", 0)
	within(t, "0 endpoints", endpoints(0))
}

func readyEndpoints(list []discoveryv1.Endpoint) int {
	count := 0
	for _, e := range list {
		if e.Conditions.Ready != nil && *e.Conditions.Ready {
			count++
		}
	}
	return count
}

func TestNamespaceDeletionIsComplete(t *testing.T) {
	ns := scratch(t)
	if _, err := shared.client.AppsV1().Deployments(ns).Create(t.Context(), newDeployment("web", 10), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "10 pods", available(t, ns, "web", 10))
	held, err := shared.client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"example.com/hold"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.client.CoreV1().Namespaces().Delete(t.Context(), ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "condition", func() (bool, string) {
		n, err := shared.client.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NamespaceFinalizersRemaining && c.Status == corev1.ConditionTrue {
				return strings.Contains(c.Message, "example.com/hold in 1 resource instances"), c.Message
			}
		}
		return false, fmt.Sprintf("%+v", n.Status)
	})
	began := time.Now()
	if _, err := shared.client.CoreV1().ConfigMaps(ns).Patch(t.Context(), held.Name, "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "gone", func() (bool, string) {
		_, err := shared.client.CoreV1().Namespaces().Get(context.Background(), ns, metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the namespace went %s after its last object: nothing woke it", took)
	}
}

func TestUnschedulablePodSaysWhy(t *testing.T) {
	ns := scratch(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "big"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100")}}}}},
	}
	within(t, "service account", func() (bool, string) {
		_, err := shared.client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	if _, err := shared.client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want := "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	within(t, "condition", func() (bool, string) {
		p, err := shared.client.CoreV1().Pods(ns).Get(t.Context(), "big", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled {
				return c.Reason == corev1.PodReasonUnschedulable && c.Message == want, c.Message
			}
		}
		return false, "no condition"
	})
	within(t, "event", func() (bool, string) {
		list, err := shared.client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=FailedScheduling"})
		return err == nil && len(list.Items) > 0 && list.Items[0].Message == want, fmt.Sprint(err)
	})
}
