package controllers_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func makeMap(t *testing.T, ns, name string, owners ...metav1.OwnerReference) *corev1.ConfigMap {
	t.Helper()
	m, err := shared.client.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: owners}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func ownedBy(m *corev1.ConfigMap) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: m.Name, UID: m.UID, BlockOwnerDeletion: &yes}
}

func gone(t *testing.T, ns, name string) func() (bool, string) {
	return func() (bool, string) {
		m, err := shared.client.CoreV1().ConfigMaps(ns).Get(t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err, m.ObjectMeta)
	}
}

func remove(t *testing.T, ns, name string, policy metav1.DeletionPropagation) {
	t.Helper()
	if err := shared.client.CoreV1().ConfigMaps(ns).Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		t.Fatal(err)
	}
}

func TestGarbageWithTwoOwners(t *testing.T) {
	ns := scratch(t)
	a, b := makeMap(t, ns, "a"), makeMap(t, ns, "b")
	makeMap(t, ns, "child", ownedBy(a), ownedBy(b))
	remove(t, ns, "a", metav1.DeletePropagationForeground)
	within(t, "a gone", gone(t, ns, "a"))
	within(t, "one owner left", func() (bool, string) {
		m, err := shared.client.CoreV1().ConfigMaps(ns).Get(t.Context(), "child", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return len(m.OwnerReferences) == 1 && m.OwnerReferences[0].Name == "b", fmt.Sprint(m.OwnerReferences)
	})
	remove(t, ns, "b", metav1.DeletePropagationBackground)
	within(t, "child gone", gone(t, ns, "child"))
}

func TestGarbageOfOwnersThatNeverWere(t *testing.T) {
	ns, other := scratch(t), scratch(t)
	makeMap(t, ns, "dangling", metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "no", UID: "no-such-uid"})
	within(t, "dangling gone", gone(t, ns, "dangling"))
	// An owner of another namespace is no owner.
	makeMap(t, other, "elsewhere", ownedBy(makeMap(t, ns, "here")))
	within(t, "elsewhere gone", gone(t, other, "elsewhere"))
	// A name that fits with a uid that does not is no owner either.
	wrong := ownedBy(makeMap(t, ns, "owner"))
	wrong.UID = types.UID("another-uid")
	makeMap(t, ns, "mistaken", wrong)
	within(t, "mistaken gone", gone(t, ns, "mistaken"))
	if _, err := shared.client.CoreV1().ConfigMaps(ns).Get(t.Context(), "owner", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestGarbageChainAndCircle(t *testing.T) {
	ns := scratch(t)
	a := makeMap(t, ns, "a")
	b := makeMap(t, ns, "b", ownedBy(a))
	makeMap(t, ns, "c", ownedBy(b))
	remove(t, ns, "a", metav1.DeletePropagationForeground)
	for _, name := range []string{"a", "b", "c"} {
		within(t, name+" gone", gone(t, ns, name))
	}

	x := makeMap(t, ns, "x")
	y := makeMap(t, ns, "y", ownedBy(x))
	z := makeMap(t, ns, "z", ownedBy(y))
	x.OwnerReferences = []metav1.OwnerReference{ownedBy(z)}
	if _, err := shared.client.CoreV1().ConfigMaps(ns).Update(t.Context(), x, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	remove(t, ns, "x", metav1.DeletePropagationForeground)
	for _, name := range []string{"x", "y", "z"} {
		within(t, name+" gone", gone(t, ns, name))
	}
}

func TestGarbageOrphans(t *testing.T) {
	ns := scratch(t)
	a := makeMap(t, ns, "a")
	for i := range 20 {
		makeMap(t, ns, fmt.Sprint("child-", i), ownedBy(a))
	}
	// The graph learns of the children through their watch; upstream's has the
	// same window.
	time.Sleep(200 * time.Millisecond) //nolint:forbidigo // nothing tells what the graph has seen
	remove(t, ns, "a", metav1.DeletePropagationOrphan)
	within(t, "a gone", gone(t, ns, "a"))
	list, err := shared.client.CoreV1().ConfigMaps(ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	children := 0
	for _, m := range list.Items {
		if len(m.OwnerReferences) > 0 {
			t.Errorf("%s still has owners", m.Name)
		}
		if m.Name != "kube-root-ca.crt" {
			children++
		}
	}
	if children != 20 {
		t.Errorf("%d children left, want 20", children)
	}
}
