package controllers_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestNeverTooManyPods watches every pod of a Deployment that is scaled at
// random while its pods are killed at random: at no time are there more active
// pods than the largest size asked for, so no stale cache led to a second
// creation; and at the end the number is right.
func TestNeverTooManyPods(t *testing.T) {
	ns := scratch(t)
	const most = 30
	if _, err := shared.client.AppsV1().Deployments(ns).Create(t.Context(), newDeployment("web", most), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	watch, err := shared.client.CoreV1().Pods(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		active := map[types.UID]bool{}
		for event := range watch.ResultChan() {
			pod, ok := event.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			if event.Type == "DELETED" || pod.DeletionTimestamp != nil {
				delete(active, pod.UID)
			} else {
				active[pod.UID] = true
			}
			if len(active) > most {
				t.Errorf("%d active pods, at most %d were asked for", len(active), most)
			}
		}
	})
	r := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		if r.IntN(2) == 0 {
			scale(t, ns, "web", int32(r.IntN(most+1)))
		}
		pods, err := shared.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) > 0 {
			victim := pods.Items[r.IntN(len(pods.Items))]
			if err := shared.client.CoreV1().Pods(ns).Delete(t.Context(), victim.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
		}
	}
	scale(t, ns, "web", most)
	within(t, "the last size", available(t, ns, "web", most))
	watch.Stop()
	wg.Wait()
}

// TestSchedulerThroughput binds pods that were waiting for a node.
func TestSchedulerThroughput(t *testing.T) {
	ns := scratch(t)
	const count = 1000
	within(t, "service account", func() (bool, string) {
		_, err := shared.client.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	cordon := func(yes bool) {
		t.Helper()
		patch := fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, yes)
		if _, err := shared.client.CoreV1().Nodes().Patch(t.Context(), nodeName, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cordon(true)
	defer cordon(false)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range count / 8 {
				_, err := shared.client.CoreV1().Pods(ns).Create(t.Context(), &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p-%d-%d", worker, i), Labels: map[string]string{holdLabel: "yes"}},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}},
				}, metav1.CreateOptions{})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	bound := func(want int) func() (bool, string) {
		return func() (bool, string) {
			pods, err := shared.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=" + nodeName, ResourceVersion: "0"})
			return err == nil && len(pods.Items) == want, fmt.Sprintf("%d are bound, %v; %s", len(pods.Items), err, why(t, ns))
		}
	}
	within(t, "nobody bound", bound(0))
	began := time.Now()
	cordon(false)
	within(t, "all bound", bound(count))
	t.Logf("%d pods bound in %s: %.0f/s", count, time.Since(began), count/time.Since(began).Seconds())
}

// why tells how a node and one of the pods that have none see their state.
func why(t *testing.T, ns string) string {
	n, err := shared.client.CoreV1().Nodes().Get(t.Context(), nodeName, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	pods, err := shared.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=", Limit: 1})
	if err != nil || len(pods.Items) == 0 {
		return fmt.Sprint("no pod without a node", err)
	}
	return fmt.Sprintf("unschedulable %t, %s: %+v", n.Spec.Unschedulable, pods.Items[0].Name, pods.Items[0].Status.Conditions)
}

// TestRestIsRest: with nothing to do nobody writes.
func TestRestIsRest(t *testing.T) {
	ns := scratch(t)
	if _, err := shared.client.AppsV1().Deployments(ns).Create(t.Context(), newDeployment("web", 5), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	within(t, "5 pods", available(t, ns, "web", 5))
	version := func() string {
		list, err := shared.client.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return list.ResourceVersion
	}
	var before string
	// Namespaces of earlier tests may still be going.
	within(t, "quiet for two seconds", func() (bool, string) {
		before = version()
		time.Sleep(2 * time.Second) //nolint:forbidigo // it is silence that is waited for
		now := version()
		return now == before, before + " -> " + now
	})
}
