// Package namespace empties a namespace that is being deleted, and then lets it go.
//
// Owns: the finalizer kubernetes of namespaces, their phase, and their
// conditions. Reads: namespaces, pods, and every namespaced kind. Writes:
// deletions of every namespaced kind, namespaces/status, namespaces/finalize.
//
// Invariants: pods go before everything else (KEP-5080), so that what protects
// a pod (a network policy, say) outlives it; the namespace goes only after every
// kind that can be listed was listed as empty and discovery was complete.
//
// Differences from upstream: nothing waits for an estimated time. What remains
// is watched until it is gone, and the namespace is looked at again right then.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"

	"go.skiff.dev/skiff/internal/reconcile"
)

const (
	// Name is the controller's name.
	Name = "namespace-controller"
	// patience is the longest time without a look at what remains, in case the
	// watch over it broke.
	patience = 15 * time.Second
)

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Metadata  metadata.Interface
	Informers informers.SharedInformerFactory
	Options   reconcile.Options[string]
}

// Controller is the namespace controller; its keys are namespaces.
type Controller struct {
	client     kubernetes.Interface
	metadata   metadata.Interface
	namespaces corelisters.NamespaceLister
	loop       *reconcile.Loop[string]

	mu      sync.Mutex
	waiting map[string]context.CancelFunc
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	namespaces := d.Informers.Core().V1().Namespaces()
	c := &Controller{client: d.Client, metadata: d.Metadata, namespaces: namespaces.Lister(), waiting: map[string]context.CancelFunc{}}
	o := d.Options
	o.Name, o.Reconcile, o.Workers, o.Spacing = Name, c.Reconcile, 10, 10*time.Millisecond
	c.loop = reconcile.New(o)
	c.loop.WatchEvents(namespaces.Informer(), reconcile.Handler{
		Add:    c.changed,
		Update: func(_, n metav1.Object) { c.changed(n) },
		Delete: func(n metav1.Object) { c.stopWaiting(n.GetName()) },
	})
	return c, nil
}

func (c *Controller) changed(n metav1.Object) {
	if n.GetDeletionTimestamp() != nil {
		c.loop.Add(n.GetName())
	}
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{reconcile.Watches("", "namespaces"), reconcile.Watches("*", "*")}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Does("*", "*", "delete", "deletecollection"),
		reconcile.Does("", "namespaces/status", "update"), reconcile.Does("", "namespaces/finalize", "update"),
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, cancel := range c.waiting {
			cancel()
		}
	}()
	return c.loop.Run(ctx)
}

// Reconcile takes one namespace that is being deleted a step on.
func (c *Controller) Reconcile(ctx context.Context, name string) (reconcile.Result, error) {
	n, err := c.namespaces.Get(name)
	if apierrors.IsNotFound(err) || err == nil && (n.DeletionTimestamp == nil || len(n.Spec.Finalizers) == 0) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if !hasFinalizer(n) {
		// Somebody else's finalizer holds it; its emptying is over.
		return reconcile.Result{}, nil
	}
	outcome := c.empty(ctx, name)
	n, err = c.updateStatus(ctx, n, outcome)
	if err != nil {
		return reconcile.Result{}, client404(err)
	}
	if !outcome.done() {
		c.waitFor(name, outcome)
		return reconcile.Result{After: patience}, errors.Join(outcome.discovery, errors.Join(outcome.failures...))
	}
	c.stopWaiting(name)
	return reconcile.Result{}, c.finalize(ctx, n)
}

func hasFinalizer(n *corev1.Namespace) bool {
	return slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes)
}

func client404(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// updateStatus writes phase and conditions if they changed.
func (c *Controller) updateStatus(ctx context.Context, n *corev1.Namespace, o outcome) (*corev1.Namespace, error) {
	want := n.DeepCopy()
	want.Status.Phase = corev1.NamespaceTerminating
	want.Status.Conditions = conditions(n.Status.Conditions, o, metav1.NewTime(c.loop.Clock.Now()))
	if equality.Semantic.DeepEqual(n.Status, want.Status) || o.done() && len(n.Status.Conditions) == 0 {
		// A namespace that was empty at the first look needs no words about it.
		return n, nil
	}
	now, err := c.client.CoreV1().Namespaces().UpdateStatus(ctx, want, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("updating status of namespace %q: %w", n.Name, err)
	}
	return now, nil
}

// finalize takes our finalizer out; without any the API server removes the object.
func (c *Controller) finalize(ctx context.Context, n *corev1.Namespace) error {
	want := n.DeepCopy()
	want.Spec.Finalizers = nil
	for _, f := range n.Spec.Finalizers {
		if f != corev1.FinalizerKubernetes {
			want.Spec.Finalizers = append(want.Spec.Finalizers, f)
		}
	}
	_, err := c.client.CoreV1().Namespaces().Finalize(ctx, want, metav1.UpdateOptions{})
	if err = client404(err); err != nil {
		return fmt.Errorf("finalizing namespace %q: %w", n.Name, err)
	}
	return nil
}
