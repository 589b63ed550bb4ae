// Package endpoints keeps the v1 Endpoints object of each Service with a
// selector, for clients that do not read EndpointSlices yet.
//
// Owns: Endpoints with the name of a Service that has a selector. Reads:
// services, pods, endpoints. Writes: endpoints, events.
//
// Invariants: addresses, ports and readiness are those of the pods (subsets in
// upstream's packed and sorted form); at most 1000 addresses, ready ones first,
// and an annotation says when some were left out.
//
// Differences from upstream: changes are gathered for 100 ms per Service, since
// nothing on skiff's own way reads Endpoints.
package endpoints

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/endpointslice/util"

	"go.skiff.dev/skiff/internal/reconcile"
)

const (
	// Name is the controller's name; events carry it as upstream's do.
	Name = "endpoint-controller"
	// spacing gathers changes.
	spacing = 100 * time.Millisecond
	// managedBy is set since v1.33, so that mirrors leave these objects alone.
	managedBy = "endpoints.kubernetes.io/managed-by"
)

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	Options   reconcile.Options[cache.ObjectName]
}

// Controller is the Endpoints controller.
type Controller struct {
	client    kubernetes.Interface
	recorder  record.EventRecorder
	services  corelisters.ServiceLister
	pods      corelisters.PodLister
	endpoints corelisters.EndpointsLister
	triggers  *util.TriggerTimeTracker
	loop      *reconcile.Loop[cache.ObjectName]
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	core := d.Informers.Core().V1()
	c := &Controller{
		client: d.Client, recorder: d.Recorder, services: core.Services().Lister(), pods: core.Pods().Lister(),
		endpoints: core.Endpoints().Lister(), triggers: util.NewTriggerTimeTracker(),
	}
	o := d.Options
	o.Name, o.Reconcile, o.Workers, o.Spacing = Name, c.Reconcile, 2, spacing
	c.loop = reconcile.New(o)
	add := func(o metav1.Object) { c.loop.Add(cache.MetaObjectToName(o)) }
	c.loop.Watch(core.Services().Informer(), add)
	c.loop.Watch(core.Endpoints().Informer(), add)
	c.loop.WatchEvents(core.Pods().Informer(), reconcile.Handler{
		Add:    func(o metav1.Object) { c.podChanged(nil, o) },
		Update: c.podChanged,
		Delete: func(o metav1.Object) { c.podChanged(nil, o) },
	})
	return c, nil
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Watches("", "services"), reconcile.Watches("", "pods"), reconcile.Watches("", "endpoints"),
	}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{reconcile.Does("", "endpoints", "create", "update", "delete"), reconcile.Records()}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

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

// Reconcile brings one Endpoints object in line with its Service's pods.
func (c *Controller) Reconcile(ctx context.Context, key cache.ObjectName) (reconcile.Result, error) {
	service, err := c.services.Services(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, c.remove(ctx, key)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if service.Spec.Selector == nil || service.Spec.Type == corev1.ServiceTypeExternalName || service.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	pods, err := c.pods.Pods(key.Namespace).List(labels.SelectorFromSet(service.Spec.Selector))
	if err != nil {
		return reconcile.Result{}, err
	}
	subsets, truncated := subsetsOf(service, pods)
	err = c.write(ctx, service, pods, subsets, truncated)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, err
}

// remove deletes what a Service left behind. Endpoints that were never a
// Service's (a lock of an old leader election, say) are left alone.
func (c *Controller) remove(ctx context.Context, key cache.ObjectName) error {
	c.triggers.DeleteService(key.Namespace, key.Name)
	have, err := c.endpoints.Endpoints(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || err == nil && have.Labels[managedBy] != Name {
		return nil
	}
	if err != nil {
		return err
	}
	err = c.client.CoreV1().Endpoints(key.Namespace).Delete(ctx, key.Name, *metav1.NewPreconditionDeleteOptions(string(have.UID)))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting endpoints %s: %w", key, err)
	}
	return nil
}

func (c *Controller) write(ctx context.Context, service *corev1.Service, pods []*corev1.Pod, subsets []corev1.EndpointSubset, truncated bool) error {
	have, err := c.endpoints.Endpoints(service.Namespace).Get(service.Name)
	create := apierrors.IsNotFound(err)
	if err != nil && !create {
		return err
	}
	if create {
		have = &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: service.Name, Namespace: service.Namespace}}
	}
	trigger := c.triggers.ComputeEndpointLastChangeTriggerTime(service.Namespace, service, pods)
	want := have.DeepCopy()
	want.Subsets = subsets
	want.Labels = labelsOf(service)
	if want.Annotations == nil {
		want.Annotations = map[string]string{}
	}
	if truncated {
		want.Annotations[corev1.EndpointsOverCapacity] = "truncated"
	} else {
		delete(want.Annotations, corev1.EndpointsOverCapacity)
	}
	if !create && same(have, want) {
		return nil
	}
	if !trigger.IsZero() {
		want.Annotations[corev1.EndpointsLastChangeTriggerTime] = trigger.UTC().Format(time.RFC3339Nano)
	} else {
		delete(want.Annotations, corev1.EndpointsLastChangeTriggerTime)
	}
	if create {
		_, err = c.client.CoreV1().Endpoints(want.Namespace).Create(ctx, want, metav1.CreateOptions{})
	} else {
		_, err = c.client.CoreV1().Endpoints(want.Namespace).Update(ctx, want, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("writing endpoints %s/%s: %w", want.Namespace, want.Name, err)
	}
	return nil
}

func labelsOf(service *corev1.Service) map[string]string {
	list := maps.Clone(service.Labels)
	if list == nil {
		list = map[string]string{}
	}
	delete(list, corev1.IsHeadlessService)
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		list[corev1.IsHeadlessService] = ""
	}
	list[managedBy] = Name
	return list
}

// same ignores the versions of the pods that addresses point to.
func same(have, want *corev1.Endpoints) bool {
	return equality.Semantic.DeepEqual(have.Subsets, want.Subsets) && maps.Equal(have.Labels, want.Labels) &&
		have.Annotations[corev1.EndpointsOverCapacity] == want.Annotations[corev1.EndpointsOverCapacity]
}
