// Package garbage deletes what has lost all its owners, and carries out the
// three ways of deleting an owner: background (dependents follow), foreground
// (dependents first) and orphan (dependents stay).
//
// Owns: the finalizers foregroundDeletion and orphan, and owner references that
// point to nothing. Reads: every resource that can be listed and watched, its
// metadata only. Writes: deletion and metadata patches of the same.
//
// Invariants:
//   - nothing is deleted because the graph says so: that an owner is gone, and
//     that the object still has no other, is read from the API first, and the
//     deletion carries the object's uid and version;
//   - an owner reference counts only within the namespace, or to a
//     cluster-scoped owner;
//   - a blocked foreground deletion ends when the last dependent with
//     blockOwnerDeletion is gone.
//
// Differences from upstream: kinds that other controllers watch anyway are
// heard through the shared informers, the others through a reflector that feeds
// the graph and keeps no second copy; new kinds are found when a
// CustomResourceDefinition or APIService changes, not by asking every 30 s.
package garbage

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"

	"go.skiff.dev/skiff/internal/reconcile"
)

// Name is the controller's name; events carry it as upstream's do.
const Name = "garbage-collector-controller"

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Metadata  metadata.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	Options   reconcile.Options[types.UID]
}

// Controller is the garbage collector; its keys are uids.
type Controller struct {
	client   kubernetes.Interface
	metadata metadata.Interface
	recorder record.EventRecorder
	graph    *graph
	monitors *monitors
	loop     *reconcile.Loop[types.UID]
	// discover has one key: it looks for kinds that came or went.
	discover *reconcile.Loop[string]
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	c := &Controller{client: d.Client, metadata: d.Metadata, recorder: d.Recorder}
	o := d.Options
	o.Name, o.Reconcile, o.Workers = Name, c.Reconcile, 8
	c.loop = reconcile.New(o)
	c.graph = newGraph(c.loop.Add)
	c.discover = reconcile.New(reconcile.Options[string]{
		Name: Name + "-discovery", Reconcile: c.rediscover, Workers: 1, Spacing: time.Second,
		Clock: o.Clock, Log: o.Log, Metrics: o.Metrics,
	})
	c.monitors = newMonitors(d, c.graph, func() { c.discover.Add("") })
	return c, nil
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{reconcile.Watches("*", "*")}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{reconcile.Does("*", "*", "patch", "delete"), reconcile.Records()}
}

// Run discovers the kinds, waits until the graph knows every object, and works
// until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	c.monitors.start(ctx)
	defer c.monitors.stop()
	c.discover.Add("")
	wg.Go(func() { _ = c.discover.Run(ctx) })
	if !c.monitors.waitSynced(ctx) {
		return nil
	}
	return c.loop.Run(ctx)
}

func (c *Controller) rediscover(ctx context.Context, _ string) (reconcile.Result, error) {
	changed, err := c.monitors.update(c.client.Discovery())
	if changed {
		// A kind is announced a moment before it is served.
		return reconcile.Result{After: 2 * time.Second}, err
	}
	return reconcile.Result{}, err
}

// Reconcile looks at one object: must it go, may it go, what does it hold up?
func (c *Controller) Reconcile(ctx context.Context, uid types.UID) (reconcile.Result, error) {
	n, ok := c.graph.view(uid)
	if !ok {
		return reconcile.Result{}, nil
	}
	var err error
	switch {
	case n.virtual:
		err = c.verify(ctx, n)
	case n.orphan:
		err = c.orphanDependents(ctx, n)
	case n.foreground:
		err = c.finishForeground(ctx, n)
	case !n.deleting && len(n.owners) > 0:
		err = c.judge(ctx, n)
	}
	return reconcile.Result{}, err
}

// verify asks the API whether an owner exists that no watch has shown.
func (c *Controller) verify(ctx context.Context, n view) error {
	exists, err := c.exists(ctx, n.identity)
	if err != nil {
		return err
	}
	if !exists {
		c.graph.remove(n.uid)
	}
	// An owner that exists is shown by its watch sooner or later.
	return nil
}

// orphanDependents takes the owner out of its dependents' references, and then
// lets it go.
func (c *Controller) orphanDependents(ctx context.Context, n view) error {
	for _, dependent := range n.dependents {
		if err := c.dropOwners(ctx, dependent.identity, map[types.UID]bool{n.uid: true}); err != nil {
			return err
		}
	}
	return c.dropFinalizer(ctx, n.identity, metav1.FinalizerOrphanDependents)
}

// finishForeground lets an owner go when no dependent blocks it any more.
func (c *Controller) finishForeground(ctx context.Context, n view) error {
	blocked := false
	for _, dependent := range n.dependents {
		if dependent.blocks(n.uid) {
			blocked = true
		}
		if !dependent.deleting {
			c.loop.Add(dependent.uid)
		}
	}
	if blocked {
		return nil
	}
	return c.dropFinalizer(ctx, n.identity, metav1.FinalizerDeleteDependents)
}

// judge decides about an object with owners.
func (c *Controller) judge(ctx context.Context, n view) error {
	live, err := c.get(ctx, n.identity)
	if apierrors.IsNotFound(err) || err == nil && live.UID != n.uid {
		// Its watch is about to say so, or it was never more than a reference.
		c.graph.remove(n.uid)
		return nil
	}
	if err != nil {
		return err
	}
	if live.DeletionTimestamp != nil || len(live.OwnerReferences) == 0 {
		return nil
	}
	f, err := c.classify(ctx, n, live.OwnerReferences)
	if err != nil {
		return err
	}
	switch {
	case len(f.solid) > 0 && len(f.gone)+len(f.waiting) == 0:
		return nil
	case len(f.solid) > 0:
		drop := map[types.UID]bool{}
		for _, reference := range append(f.gone, f.waiting...) {
			drop[reference.UID] = true
		}
		return c.dropOwners(ctx, n.identity, drop)
	case len(f.waiting) > 0 && len(n.dependents) > 0:
		return c.deleteWaitedFor(ctx, n, live)
	}
	return c.delete(ctx, n.identity, live, policyOf(live))
}

// deleteWaitedFor deletes an object in the foreground, because its owner waits
// in the foreground too. Where a dependent of it waits as well, they may form a
// circle: the references stop blocking, so that the circle can end.
func (c *Controller) deleteWaitedFor(ctx context.Context, n view, live *metav1.PartialObjectMetadata) error {
	for _, dependent := range n.dependents {
		if !dependent.foreground {
			continue
		}
		if err := c.unblock(ctx, n.identity); err != nil {
			return err
		}
		fresh, err := c.get(ctx, n.identity)
		if err != nil {
			return client404(err)
		}
		live = fresh
		break
	}
	return c.delete(ctx, n.identity, live, metav1.DeletePropagationForeground)
}

// policyOf keeps the way of deletion that the object's finalizers ask for.
func policyOf(live *metav1.PartialObjectMetadata) metav1.DeletionPropagation {
	for _, f := range live.Finalizers {
		switch f {
		case metav1.FinalizerOrphanDependents:
			return metav1.DeletePropagationOrphan
		case metav1.FinalizerDeleteDependents:
			return metav1.DeletePropagationForeground
		}
	}
	return metav1.DeletePropagationBackground
}

func client404(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (c *Controller) delete(ctx context.Context, id identity, live *metav1.PartialObjectMetadata, policy metav1.DeletionPropagation) error {
	client, err := c.resource(id)
	if err != nil {
		return err
	}
	err = client.Delete(ctx, id.name, metav1.DeleteOptions{
		PropagationPolicy: &policy,
		Preconditions:     &metav1.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion},
	})
	if err = client404(err); err != nil {
		return fmt.Errorf("deleting %s: %w", id, err)
	}
	return nil
}
