// Package mirror copies Endpoints that somebody wrote by hand, for a Service
// without a selector, into EndpointSlices, which is what everybody reads.
//
// Owns: EndpointSlices labelled as managed by
// endpointslicemirroring-controller.k8s.io. Reads: services, endpoints,
// endpointslices. Writes: endpointslices.
//
// Invariants: what the endpoints controller writes (Services with a selector),
// what carries the label endpointslice.kubernetes.io/skip-mirror, and what has
// no Service is not mirrored; one slice per subset and address family, with at
// most 1000 addresses of a subset.
//
// Differences from upstream: slices are matched by ports and family and
// rewritten whole; hand-written Endpoints are few and small.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"go.skiff.dev/skiff/internal/reconcile"
)

const (
	// Name is the controller's name.
	Name = "endpointslice-mirroring-controller"
	// manager is the value of the label that says whose slices these are.
	manager = "endpointslicemirroring-controller.k8s.io"
	// leaderAnnotation marks Endpoints that served as a lock of an election.
	leaderAnnotation = "control-plane.alpha.kubernetes.io/leader"
)

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Options   reconcile.Options[cache.ObjectName]
}

// Controller is the mirroring controller; its keys are Endpoints.
type Controller struct {
	client    kubernetes.Interface
	services  corelisters.ServiceLister
	endpoints corelisters.EndpointsLister
	slices    discoverylisters.EndpointSliceLister
	pending   *reconcile.Ledger[cache.ObjectName, *discoveryv1.EndpointSlice]
	loop      *reconcile.Loop[cache.ObjectName]
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	core := d.Informers.Core().V1()
	slices := d.Informers.Discovery().V1().EndpointSlices()
	c := &Controller{client: d.Client, services: core.Services().Lister(), endpoints: core.Endpoints().Lister(), slices: slices.Lister()}
	o := d.Options
	o.Name, o.Reconcile, o.Workers = Name, c.Reconcile, 2
	c.loop = reconcile.New(o)
	c.pending = reconcile.NewLedger[cache.ObjectName, *discoveryv1.EndpointSlice](c.loop.Clock.Now)
	add := func(o metav1.Object) { c.loop.Add(cache.MetaObjectToName(o)) }
	c.loop.Watch(core.Endpoints().Informer(), add)
	// A Service that changes matters only where it has no selector.
	c.loop.Watch(core.Services().Informer(), func(o metav1.Object) {
		if s, ok := o.(*corev1.Service); ok && s.Spec.Selector == nil {
			add(o)
		}
	})
	c.loop.Watch(slices.Informer(), func(o metav1.Object) {
		if o.GetLabels()[discoveryv1.LabelManagedBy] == manager {
			key := cache.ObjectName{Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]}
			c.pending.Strike(key, o.GetName())
			c.loop.Add(key)
		}
	})
	return c, nil
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Watches("", "services"), reconcile.Watches("", "endpoints"), reconcile.Watches("discovery.k8s.io", "endpointslices"),
	}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{reconcile.Does("discovery.k8s.io", "endpointslices", "create", "update", "delete")}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// Reconcile mirrors one Endpoints object.
func (c *Controller) Reconcile(ctx context.Context, key cache.ObjectName) (reconcile.Result, error) {
	wanted, err := c.wanted(key)
	if err != nil {
		return reconcile.Result{}, err
	}
	have, err := c.slices.EndpointSlices(key.Namespace).List(labels.SelectorFromSet(labels.Set{
		discoveryv1.LabelServiceName: key.Name, discoveryv1.LabelManagedBy: manager,
	}))
	if err != nil {
		return reconcile.Result{}, err
	}
	if open, wait := c.pending.Open(key); len(open) > 0 {
		// The cache lacks our own slice; its event wakes the key.
		return reconcile.Result{After: wait}, nil
	}
	return reconcile.Result{}, c.apply(ctx, key, planSlices(wanted, have))
}

// wanted returns the slices that should be, none for what is not mirrored.
func (c *Controller) wanted(key cache.ObjectName) ([]*discoveryv1.EndpointSlice, error) {
	e, err := c.endpoints.Endpoints(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || err == nil && !mirrored(e) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	service, err := c.services.Services(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || err == nil && service.Spec.Selector != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slicesOf(e), nil
}

func mirrored(e *corev1.Endpoints) bool {
	_, lock := e.Annotations[leaderAnnotation]
	return e.DeletionTimestamp == nil && e.Labels[discoveryv1.LabelSkipMirror] != "true" && !lock
}

// plan is what has to be written.
type plan struct{ create, update, delete []*discoveryv1.EndpointSlice }

// planSlices matches slices by family and ports.
func planSlices(wanted, have []*discoveryv1.EndpointSlice) plan {
	var p plan
	used := map[string]bool{}
	for _, want := range wanted {
		var match *discoveryv1.EndpointSlice
		for _, h := range have {
			if !used[h.Name] && h.DeletionTimestamp == nil && h.AddressType == want.AddressType && equality.Semantic.DeepEqual(h.Ports, want.Ports) {
				match = h
				break
			}
		}
		if match == nil {
			p.create = append(p.create, want)
			continue
		}
		used[match.Name] = true
		if equality.Semantic.DeepEqual(match.Endpoints, want.Endpoints) && maps.Equal(match.Labels, want.Labels) && maps.Equal(match.Annotations, want.Annotations) {
			continue
		}
		changed := match.DeepCopy()
		changed.Endpoints, changed.Labels, changed.Annotations = want.Endpoints, want.Labels, want.Annotations
		p.update = append(p.update, changed)
	}
	for _, h := range have {
		if !used[h.Name] && h.DeletionTimestamp == nil {
			p.delete = append(p.delete, h)
		}
	}
	return p
}

func (c *Controller) apply(ctx context.Context, key cache.ObjectName, p plan) error {
	client := c.client.DiscoveryV1().EndpointSlices(key.Namespace)
	var errs []error
	for _, s := range p.create {
		c.pending.Announce(key, s.Name, s)
		if _, err := client.Create(ctx, s, metav1.CreateOptions{}); err != nil {
			c.pending.Strike(key, s.Name)
			if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				return nil
			}
			errs = append(errs, fmt.Errorf("creating endpoint slice: %w", err))
		}
	}
	for _, s := range p.update {
		if _, err := client.Update(ctx, s, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("updating endpoint slice %q: %w", s.Name, err))
		}
	}
	for _, s := range p.delete {
		err := client.Delete(ctx, s.Name, *metav1.NewPreconditionDeleteOptions(string(s.UID)))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("deleting endpoint slice %q: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}
