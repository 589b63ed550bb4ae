package replicaset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// apply carries out the plan and returns the first failure.
func (c *Controller) apply(ctx context.Context, set *appsv1.ReplicaSet, p plan) error {
	if p.create > 0 {
		return c.createPods(ctx, set, p.create)
	}
	return c.deletePods(ctx, set, p.delete)
}

var errNamespaceGoing = errors.New("the namespace is being deleted")

// createPods starts with one pod and doubles after each batch that went well:
// where creation is refused (quota, admission), one request finds out.
func (c *Controller) createPods(ctx context.Context, set *appsv1.ReplicaSet, count int) error {
	for batch := 1; count > 0; batch *= 2 {
		size := min(batch, count)
		errs := make([]error, size)
		var wg sync.WaitGroup
		for i := range size {
			wg.Go(func() { errs[i] = c.createPod(ctx, set) })
		}
		wg.Wait()
		switch err := firstOf(errs); {
		case errors.Is(err, errNamespaceGoing):
			// The set goes with its namespace: nothing to retry or tell.
			return nil
		case err != nil:
			return err
		}
		count -= size
	}
	return nil
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) createPod(ctx context.Context, set *appsv1.ReplicaSet) error {
	pod := podFor(set)
	c.created.Announce(set.UID, pod.Name, pod)
	_, err := c.client.CoreV1().Pods(set.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err == nil {
		c.recorder.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
		return nil
	}
	c.created.Strike(set.UID, pod.Name)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return errNamespaceGoing
	}
	c.recorder.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
	return err
}

// maxPrefix leaves room for a dash and five characters within a label's 63.
const maxPrefix = 63 - 5

// podFor builds a pod from the template, with a drawn name.
func podFor(set *appsv1.ReplicaSet) *corev1.Pod {
	prefix := set.Name + "-"
	name := prefix
	if len(name) > maxPrefix {
		name = name[:maxPrefix]
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name + rand.String(5), GenerateName: prefix, Namespace: set.Namespace,
			Labels:          maps.Clone(set.Spec.Template.Labels),
			Annotations:     maps.Clone(set.Spec.Template.Annotations),
			Finalizers:      slices.Clone(set.Spec.Template.Finalizers),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)},
		},
		Spec: *set.Spec.Template.Spec.DeepCopy(),
	}
}

// deletionsAtOnce bounds the parallel deletions of one run.
const deletionsAtOnce = 32

func (c *Controller) deletePods(ctx context.Context, set *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	errs := make([]error, len(pods))
	slots := make(chan struct{}, deletionsAtOnce)
	var wg sync.WaitGroup
	for i, pod := range pods {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = c.deletePod(ctx, set, pod)
		})
	}
	wg.Wait()
	return firstOf(errs)
}

func (c *Controller) deletePod(ctx context.Context, set *appsv1.ReplicaSet, pod *corev1.Pod) error {
	if pod.UID == "" {
		// Announced but not seen yet: its event wakes us to choose again.
		return nil
	}
	c.deleted.Announce(set.UID, string(pod.UID), struct{}{})
	err := c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *metav1.NewPreconditionDeleteOptions(string(pod.UID)))
	switch {
	case err == nil:
		c.recorder.Eventf(set, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", pod.Name)
		return nil
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		// Gone already, or another pod has its name: the event is on its way.
		return nil
	}
	c.deleted.Strike(set.UID, string(pod.UID))
	c.recorder.Eventf(set, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
	return fmt.Errorf("deleting pod %q: %w", pod.Name, err)
}
