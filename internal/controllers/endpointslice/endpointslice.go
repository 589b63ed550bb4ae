// Package endpointslice lists, per Service with a selector, the pods behind it.
//
// Owns: EndpointSlices labelled as managed by
// endpointslice-controller.k8s.io. Reads: services, pods, nodes,
// endpointslices. Writes: endpointslices, events.
//
// Invariants: a pod is in the slices of a Service exactly while it matches the
// selector and has an address, with its ready, serving and terminating state; a
// Service without a selector is left to whoever fills it.
//
// The comparison of what is with what should be (dual stack, named ports,
// topology hints, packing into slices of 100) is Kubernetes' own library
// k8s.io/endpointslice. Ours is the wiring: it has no timer and no batching
// delay; a change is written at once, and further changes of the same Service
// are gathered for 20 ms.
package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice"
	"k8s.io/endpointslice/topologycache"
	"k8s.io/endpointslice/util"
	"k8s.io/klog/v2"

	"go.skiff.dev/skiff/internal/reconcile"
)

const (
	// Name is the controller's name; events carry it as upstream's do.
	Name = "endpoint-slice-controller"
	// manager is the value of the label that says whose slices these are.
	manager = "endpointslice-controller.k8s.io"
	// maxEndpoints is the size of a slice (upstream's default; the API's limit is 1000).
	maxEndpoints = 100
	spacing      = 20 * time.Millisecond
)

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	Options   reconcile.Options[cache.ObjectName]
}

// Controller is the EndpointSlice controller.
type Controller struct {
	services corelisters.ServiceLister
	pods     corelisters.PodLister
	nodes    corelisters.NodeLister
	slices   discoverylisters.EndpointSliceLister
	recorder record.EventRecorder
	library  *endpointslice.Reconciler
	tracker  *util.EndpointSliceTracker
	triggers *util.TriggerTimeTracker
	topology *topologycache.TopologyCache
	loop     *reconcile.Loop[cache.ObjectName]
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	core := d.Informers.Core().V1()
	slices := d.Informers.Discovery().V1().EndpointSlices()
	c := &Controller{
		services: core.Services().Lister(), pods: core.Pods().Lister(), nodes: core.Nodes().Lister(), slices: slices.Lister(),
		recorder: d.Recorder, tracker: util.NewEndpointSliceTracker(), triggers: util.NewTriggerTimeTracker(),
		topology: topologycache.NewTopologyCache(),
	}
	c.library = endpointslice.NewReconciler(d.Client, c.nodes, maxEndpoints, c.tracker, c.topology, d.Recorder, manager,
		endpointslice.WithPreferSameTrafficDistributionEnabled(true))
	o := d.Options
	o.Name, o.Reconcile, o.Workers, o.Spacing = Name, c.Reconcile, 5, spacing
	c.loop = reconcile.New(o)
	c.loop.Watch(core.Services().Informer(), func(s metav1.Object) { c.loop.Add(cache.MetaObjectToName(s)) })
	c.loop.WatchEvents(core.Pods().Informer(), reconcile.Handler{
		Add:    func(o metav1.Object) { c.podChanged(nil, o) },
		Update: c.podChanged,
		Delete: func(o metav1.Object) { c.podChanged(nil, o) },
	})
	c.loop.WatchEvents(slices.Informer(), c.sliceEvents())
	c.loop.WatchEvents(core.Nodes().Informer(), reconcile.Handler{
		Add: func(metav1.Object) { c.nodesChanged() },
		Update: func(old, o metav1.Object) {
			if topologyDiffers(old.(*corev1.Node), o.(*corev1.Node)) {
				c.nodesChanged()
			}
		},
		Delete: func(metav1.Object) { c.nodesChanged() },
	})
	return c, nil
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Watches("", "services"), reconcile.Watches("", "pods"), reconcile.Watches("", "nodes"),
		reconcile.Watches("discovery.k8s.io", "endpointslices"),
	}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Does("discovery.k8s.io", "endpointslices", "create", "update", "delete"), reconcile.Records(),
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// Reconcile brings the slices of one Service in line with its pods.
func (c *Controller) Reconcile(_ context.Context, key cache.ObjectName) (reconcile.Result, error) {
	service, err := c.services.Services(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		// The slices have an owner reference; the garbage collector takes them.
		c.triggers.DeleteService(key.Namespace, key.Name)
		c.library.DeleteService(key.Namespace, key.Name)
		c.tracker.DeleteService(key.Namespace, key.Name)
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName || service.Spec.Selector == nil || service.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	pods, err := c.pods.Pods(key.Namespace).List(labels.SelectorFromSet(service.Spec.Selector))
	if err != nil {
		return reconcile.Result{}, err
	}
	slices, err := c.existing(key)
	if err != nil {
		return reconcile.Result{}, err
	}
	if c.tracker.StaleSlices(service, slices) {
		// The event that shows our own last write wakes the key at once.
		return reconcile.Result{}, errors.New("the cache does not show the last write yet")
	}
	trigger := c.triggers.ComputeEndpointLastChangeTriggerTime(key.Namespace, service, pods)
	if err := c.library.Reconcile(klog.Background(), service, pods, slices, trigger); err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return reconcile.Result{}, nil
		}
		c.recorder.Eventf(service, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
			"Error updating Endpoint Slices for Service %s/%s: %v", key.Namespace, key.Name, err)
		return reconcile.Result{}, fmt.Errorf("reconciling endpoint slices of %s: %w", key, err)
	}
	return reconcile.Result{}, nil
}

// existing returns our own slices of the Service that are not being deleted.
func (c *Controller) existing(key cache.ObjectName) ([]*discoveryv1.EndpointSlice, error) {
	all, err := c.slices.EndpointSlices(key.Namespace).List(labels.SelectorFromSet(labels.Set{
		discoveryv1.LabelServiceName: key.Name, discoveryv1.LabelManagedBy: manager,
	}))
	if err != nil {
		return nil, err
	}
	live := make([]*discoveryv1.EndpointSlice, 0, len(all))
	for _, slice := range all {
		if slice.DeletionTimestamp == nil {
			live = append(live, slice)
		}
	}
	return live, nil
}

func (c *Controller) podChanged(old, pod metav1.Object) {
	var before any
	if old != nil {
		before = old
	}
	keys, err := util.GetServicesToUpdate(c.services, util.GetPodUpdateProjectionKey(before, pod))
	if err != nil {
		return
	}
	for key := range keys {
		if name, err := cache.ParseObjectName(key); err == nil {
			c.loop.Add(name)
		}
	}
}

// sliceEvents wakes a Service whose slices somebody else touched.
func (c *Controller) sliceEvents() reconcile.Handler {
	return reconcile.Handler{
		Add: func(o metav1.Object) {
			slice := o.(*discoveryv1.EndpointSlice)
			if c.library.ManagedByController(slice) && c.tracker.ShouldSync(slice) {
				c.wakeService(slice)
			}
		},
		Update: func(old, o metav1.Object) {
			before, slice := old.(*discoveryv1.EndpointSlice), o.(*discoveryv1.EndpointSlice)
			if before.Labels[discoveryv1.LabelServiceName] != slice.Labels[discoveryv1.LabelServiceName] {
				c.wakeService(before)
				c.wakeService(slice)
				return
			}
			if c.library.ManagedByChanged(before, slice) || c.library.ManagedByController(slice) && c.tracker.ShouldSync(slice) {
				c.wakeService(slice)
			}
		},
		Delete: func(o metav1.Object) {
			slice := o.(*discoveryv1.EndpointSlice)
			if c.library.ManagedByController(slice) && c.tracker.Has(slice) && !c.tracker.HandleDeletion(slice) {
				c.wakeService(slice)
			}
		},
	}
}

func (c *Controller) wakeService(slice *discoveryv1.EndpointSlice) {
	if name := slice.Labels[discoveryv1.LabelServiceName]; name != "" {
		c.loop.Add(cache.ObjectName{Namespace: slice.Namespace, Name: name})
	}
}

// nodesChanged gives the nodes to the topology hints, and wakes the Services
// whose hints do not suit them any more.
func (c *Controller) nodesChanged() {
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return
	}
	c.topology.SetNodes(klog.Background(), nodes)
	for _, key := range c.topology.GetOverloadedServices() {
		if name, err := cache.ParseObjectName(key); err == nil {
			c.loop.Add(name)
		}
	}
}

// topologyDiffers ignores the heartbeats.
func topologyDiffers(a, b *corev1.Node) bool {
	return a.Labels[corev1.LabelTopologyZone] != b.Labels[corev1.LabelTopologyZone] || ready(a) != ready(b) ||
		!equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable)
}

func ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
