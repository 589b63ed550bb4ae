// Package deployment rolls a Deployment's pods from one template to the next by
// scaling the ReplicaSets it owns, one per template.
//
// Owns: the ReplicaSets it creates, the owner references by which it adopts and
// releases ReplicaSets, the annotation deployment.kubernetes.io/revision of
// Deployments, and the whole of a Deployment's status.
// Reads: deployments, replicasets, pods. Writes: replicasets, deployments
// (annotations), deployments/status, events.
//
// Invariants (tested as properties of plan):
//   - a rolling update never asks for more than replicas+maxSurge pods in all;
//   - it never takes an available pod away when that leaves fewer than
//     replicas-maxUnavailable available ones;
//   - Recreate starts no new pod before the last old one has ended.
//
// Differences from upstream: an old ReplicaSet counts as having at most as many
// available pods as it is asked for, so that a status that lags behind a scale
// down cannot lead to a second one; the revision annotation is written by a
// patch of its own, not through the status; the legacy rollback annotation
// (extensions/v1beta1) is not read.
package deployment

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"go.skiff.dev/skiff/internal/controllers/podstate"
	"go.skiff.dev/skiff/internal/reconcile"
)

const (
	// Name is the controller's name; events carry it as upstream's do.
	Name = "deployment-controller"
	// spacing bounds the status writes of one Deployment to 50 a second.
	spacing = 20 * time.Millisecond
)

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	Options   reconcile.Options[cache.ObjectName]
}

// Controller is the Deployment controller.
type Controller struct {
	client      kubernetes.Interface
	recorder    record.EventRecorder
	deployments appslisters.DeploymentLister
	sets        cache.Indexer
	pods        cache.Indexer
	loop        *reconcile.Loop[cache.ObjectName]
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	deployments := d.Informers.Apps().V1().Deployments()
	sets := d.Informers.Apps().V1().ReplicaSets().Informer()
	pods := d.Informers.Core().V1().Pods().Informer()
	for _, informer := range []cache.SharedIndexInformer{sets, pods} {
		if err := reconcile.IndexByController(informer); err != nil {
			return nil, err
		}
	}
	c := &Controller{
		client: d.Client, recorder: d.Recorder,
		deployments: deployments.Lister(), sets: sets.GetIndexer(), pods: pods.GetIndexer(),
	}
	o := d.Options
	o.Name, o.Reconcile, o.Workers, o.Spacing = Name, c.Reconcile, 5, spacing
	c.loop = reconcile.New(o)
	c.loop.Watch(deployments.Informer(), func(o metav1.Object) { c.loop.Add(cache.MetaObjectToName(o)) })
	c.loop.Watch(sets, c.wakeOwner)
	c.loop.WatchEvents(pods, reconcile.Handler{Delete: c.wakeRecreate})
	return c, nil
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Watches("apps", "deployments"), reconcile.Watches("apps", "replicasets"), reconcile.Watches("", "pods"),
	}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Does("apps", "replicasets", "create", "update", "patch", "delete"),
		reconcile.Does("apps", "deployments", "patch"),
		reconcile.Does("apps", "deployments/status", "update"),
		reconcile.Does("apps", "deployments/finalizers", "update"),
		reconcile.Records(),
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) now() time.Time { return c.loop.Clock.Now() }

// Reconcile moves one Deployment a step on.
func (c *Controller) Reconcile(ctx context.Context, key cache.ObjectName) (reconcile.Result, error) {
	cached, err := c.deployments.Deployments(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	d := cached.DeepCopy()
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selector.Empty() {
		return reconcile.Result{}, c.refuseSelectingAll(ctx, d)
	}
	sets, err := c.claim(ctx, d, selector)
	if err != nil {
		return reconcile.Result{}, err
	}
	before := d.Status.DeepCopy()
	o := observe(d, sets, c.oldPodsRemain)
	p := planStep(d, o)
	if d.DeletionTimestamp == nil {
		notePause(d, c.now())
		if err := c.apply(ctx, d, &o, p); err != nil {
			return reconcile.Result{}, err
		}
	}
	return c.updateStatus(ctx, d, before, o, p.rollout && d.DeletionTimestamp == nil)
}

// oldPodsRemain reports whether any pod of the set has not ended yet, also
// those that are being deleted.
func (c *Controller) oldPodsRemain(set *appsv1.ReplicaSet) bool {
	pods, err := reconcile.ControlledBy[*corev1.Pod](c.pods, set.UID)
	if err != nil {
		return true
	}
	for _, pod := range pods {
		if !podstate.Terminal(pod) {
			return true
		}
	}
	return false
}

// refuseSelectingAll leaves a Deployment alone whose selector matches
// everything; validation lets none in, but a store may hold one.
func (c *Controller) refuseSelectingAll(ctx context.Context, d *appsv1.Deployment) error {
	c.recorder.Eventf(d, corev1.EventTypeWarning, "SelectingAll",
		"This deployment is selecting all pods. A non-empty selector is required.")
	if d.Status.ObservedGeneration >= d.Generation {
		return nil
	}
	d.Status.ObservedGeneration = d.Generation
	_, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
	return err
}

// wakeOwner wakes the Deployment that owns the set, or those that might want it.
func (c *Controller) wakeOwner(set metav1.Object) {
	if owner := metav1.GetControllerOfNoCopy(set); owner != nil {
		if owner.Kind != kind.Kind {
			return
		}
		if d, err := c.deployments.Deployments(set.GetNamespace()).Get(owner.Name); err == nil && d.UID == owner.UID {
			c.loop.Add(cache.MetaObjectToName(d))
		}
		return
	}
	if set.GetDeletionTimestamp() != nil || len(set.GetLabels()) == 0 {
		return
	}
	list, err := c.deployments.Deployments(set.GetNamespace()).List(labels.Everything())
	if err != nil {
		return
	}
	for _, d := range list {
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(set.GetLabels())) {
			c.loop.Add(cache.MetaObjectToName(d))
		}
	}
}

// wakeRecreate wakes a Deployment that waits for its old pods to go.
func (c *Controller) wakeRecreate(pod metav1.Object) {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.Kind != "ReplicaSet" {
		return
	}
	object, ok, err := c.sets.GetByKey(pod.GetNamespace() + "/" + owner.Name)
	if err != nil || !ok {
		return
	}
	set, ok := object.(*appsv1.ReplicaSet)
	if !ok {
		return
	}
	parent := metav1.GetControllerOfNoCopy(set)
	if parent == nil || parent.Kind != kind.Kind {
		return
	}
	d, err := c.deployments.Deployments(set.Namespace).Get(parent.Name)
	if err == nil && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		c.loop.Add(cache.MetaObjectToName(d))
	}
}
