// Package podgc removes pods that nobody will remove otherwise: those bound to
// a node that does not exist any more, those deleted before they had a node,
// and the oldest ended ones beyond a number.
//
// Owns: nothing. Reads: pods, nodes. Writes: pods (deletion), pods/status (the
// phase of a pod whose node is gone).
//
// Invariants: a pod is taken for an orphan only after its node has been absent
// for a while (quarantine), and the API, not the cache, said so; a pod that is
// still running anywhere known is never touched.
//
// Differences from upstream: no scan every 20 s; a node's deletion, a pod's end
// or deletion wake it.
package podgc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"

	"go.skiff.dev/skiff/internal/controllers/podstate"
	"go.skiff.dev/skiff/internal/reconcile"
)

const (
	// Name is the controller's name.
	Name = "pod-garbage-collector-controller"
	// quarantine is how long a node must be absent (upstream's value).
	quarantine = 40 * time.Second
	// keepEnded is how many ended pods are kept (upstream's default is 12500;
	// on a small machine they would fill its memory long before).
	keepEnded = 1000
	// ended is the key that stands for all ended pods; others are node names.
	ended = "\x00ended"
)

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Options   reconcile.Options[string]
}

// Controller is the pod garbage collector; its keys are names of nodes.
type Controller struct {
	client kubernetes.Interface
	pods   corelisters.PodLister
	nodes  corelisters.NodeLister
	absent map[string]time.Time
	loop   *reconcile.Loop[string]
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	core := d.Informers.Core().V1()
	c := &Controller{client: d.Client, pods: core.Pods().Lister(), nodes: core.Nodes().Lister(), absent: map[string]time.Time{}}
	o := d.Options
	// One worker: absent needs no lock.
	o.Name, o.Reconcile, o.Workers, o.Spacing = Name, c.Reconcile, 1, time.Second
	c.loop = reconcile.New(o)
	c.loop.WatchEvents(core.Nodes().Informer(), reconcile.Handler{
		Add:    func(n metav1.Object) { c.loop.Add(n.GetName()) },
		Delete: func(n metav1.Object) { c.loop.Add(n.GetName()) },
	})
	c.loop.WatchEvents(core.Pods().Informer(), reconcile.Handler{
		Add: func(o metav1.Object) { c.changed(nil, o.(*corev1.Pod)) },
		Update: func(old, o metav1.Object) {
			c.changed(old.(*corev1.Pod), o.(*corev1.Pod))
		},
	})
	return c, nil
}

// changed wakes for pods that came, ended, got a node or are being deleted.
func (c *Controller) changed(old, pod *corev1.Pod) {
	if podstate.Terminal(pod) && (old == nil || !podstate.Terminal(old)) {
		c.loop.Add(ended)
	}
	if old == nil || old.Spec.NodeName != pod.Spec.NodeName || old.DeletionTimestamp == nil && pod.DeletionTimestamp != nil {
		if name := pod.Spec.NodeName; name == "" && pod.DeletionTimestamp != nil {
			c.loop.Add(name)
		} else if _, err := c.nodes.Get(name); name != "" && err != nil {
			c.loop.Add(name)
		}
	}
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{reconcile.Watches("", "pods"), reconcile.Watches("", "nodes")}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{reconcile.Does("", "pods", "delete"), reconcile.Does("", "pods/status", "patch")}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// Reconcile looks at the pods of one node, at those without a node, or at the
// ended ones.
func (c *Controller) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	all, err := c.pods.List(labels.Everything())
	if err != nil {
		return reconcile.Result{}, err
	}
	switch key {
	case ended:
		return reconcile.Result{}, c.deleteAll(ctx, surplus(all, keepEnded), "")
	case "":
		return reconcile.Result{}, c.deleteAll(ctx, choose(all, func(p *corev1.Pod) bool {
			return p.Spec.NodeName == "" && p.DeletionTimestamp != nil
		}), "")
	}
	orphans := choose(all, func(p *corev1.Pod) bool { return p.Spec.NodeName == key })
	if _, err := c.nodes.Get(key); err == nil || len(orphans) == 0 {
		delete(c.absent, key)
		return reconcile.Result{}, nil
	}
	since, known := c.absent[key]
	if !known {
		since = c.loop.Clock.Now()
		c.absent[key] = since
	}
	if left := quarantine - c.loop.Clock.Since(since); left > 0 {
		return reconcile.Result{After: left}, nil
	}
	_, err = c.client.CoreV1().Nodes().Get(ctx, key, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return reconcile.Result{After: quarantine}, err
	}
	return reconcile.Result{}, c.deleteAll(ctx, orphans, "PodGC: node no longer exists")
}

func choose(all []*corev1.Pod, want func(*corev1.Pod) bool) []*corev1.Pod {
	var list []*corev1.Pod
	for _, p := range all {
		if want(p) {
			list = append(list, p)
		}
	}
	return list
}

// surplus returns the oldest ended pods beyond the number to keep.
func surplus(all []*corev1.Pod, keep int) []*corev1.Pod {
	over := choose(all, func(p *corev1.Pod) bool { return podstate.Terminal(p) && p.DeletionTimestamp == nil })
	if len(over) <= keep {
		return nil
	}
	slices.SortFunc(over, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Time.Compare(b.CreationTimestamp.Time) })
	return over[:len(over)-keep]
}

// deleteAll deletes pods at once, without grace: nobody is left to grant it.
// With a message, a pod that has not ended is first marked as failed by it.
func (c *Controller) deleteAll(ctx context.Context, pods []*corev1.Pod, message string) error {
	var errs []error
	for _, pod := range pods {
		err := c.markFailed(ctx, pod, message)
		if err == nil {
			err = c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
				GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
			})
		}
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("collecting pod %s/%s: %w", pod.Namespace, pod.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) markFailed(ctx context.Context, pod *corev1.Pod, message string) error {
	if message == "" || podstate.Terminal(pod) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"phase": corev1.PodFailed, "conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC", Message: message,
			LastTransitionTime: metav1.NewTime(c.loop.Clock.Now()), ObservedGeneration: pod.Generation,
		}}},
	})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	_, err = c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
