// Package replicaset keeps the number of pods that each ReplicaSet asks for.
//
// Owns: the pods it creates, the owner references by which it adopts and
// releases pods, and the whole of a ReplicaSet's status.
// Reads: replicasets, pods. Writes: pods, replicasets/status, events.
//
// Invariants:
//   - it never acts twice on a stale cache: what was created or deleted but is
//     not seen yet counts as done (reconcile.Ledger);
//   - a pod is adopted only by a live, undeleted ReplicaSet whose selector
//     matches, and only if nobody controls it;
//   - a ReplicaSet that is being deleted creates and deletes nothing: its pods
//     are the garbage collector's.
//
// Differences from upstream: pod names are drawn here and not by the server
// (generateName is set too), because then a creation can be announced before it
// is sent. Events of one ReplicaSet are answered at once and then at most every
// 20 ms, so that 100 pods becoming ready are a few status writes, not 100.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
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
	Name = "replicaset-controller"
	// burst bounds the pods that one run creates or deletes (upstream's value).
	burst = 500
	// spacing bounds the status writes of one ReplicaSet to 50 a second.
	spacing = 20 * time.Millisecond
)

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	Options   reconcile.Options[cache.ObjectName]
}

// Controller is the ReplicaSet controller.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	sets     appslisters.ReplicaSetLister
	setIndex cache.Indexer
	pods     cache.Indexer
	created  *reconcile.Ledger[types.UID, *corev1.Pod]
	deleted  *reconcile.Ledger[types.UID, struct{}]
	loop     *reconcile.Loop[cache.ObjectName]
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	sets := d.Informers.Apps().V1().ReplicaSets()
	pods := d.Informers.Core().V1().Pods().Informer()
	if err := reconcile.IndexByController(pods); err != nil {
		return nil, err
	}
	if err := reconcile.IndexByController(sets.Informer()); err != nil {
		return nil, err
	}
	c := &Controller{
		client: d.Client, recorder: d.Recorder,
		sets: sets.Lister(), setIndex: sets.Informer().GetIndexer(), pods: pods.GetIndexer(),
	}
	o := d.Options
	o.Name, o.Reconcile, o.Workers, o.Spacing = Name, c.Reconcile, 5, spacing
	c.loop = reconcile.New(o)
	c.created = reconcile.NewLedger[types.UID, *corev1.Pod](c.now)
	c.deleted = reconcile.NewLedger[types.UID, struct{}](c.now)
	c.loop.Watch(sets.Informer(), func(set metav1.Object) { c.loop.Add(cache.MetaObjectToName(set)) })
	c.loop.WatchEvents(pods, c.podEvents())
	return c, nil
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{reconcile.Watches("apps", "replicasets"), reconcile.Watches("", "pods")}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Does("", "pods", "create", "patch", "delete"),
		reconcile.Does("apps", "replicasets/status", "update"),
		reconcile.Does("apps", "replicasets/finalizers", "update"),
		reconcile.Records(),
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) now() time.Time { return c.loop.Clock.Now() }

// Reconcile brings one ReplicaSet's pods to the number asked for.
func (c *Controller) Reconcile(ctx context.Context, key cache.ObjectName) (reconcile.Result, error) {
	cached, err := c.sets.ReplicaSets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	set := cached.DeepCopy()
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		// Validation refuses such a selector; nothing can be done here.
		return reconcile.Result{}, nil
	}

	owned, err := c.claim(ctx, set, selector)
	if err != nil {
		return reconcile.Result{}, err
	}
	observed, unseen := c.observe(set, owned)

	var failure error
	p := plan{}
	if set.DeletionTimestamp == nil {
		p = planReplicas(set, observed.active, c.ranks(set, observed.active), c.now())
		failure = c.apply(ctx, set, p)
	}

	// The ledger now also holds what was just done.
	observed, unseen2 := c.observe(set, owned)
	wait, err := c.updateStatus(ctx, set, observed, p, failure)
	return reconcile.Result{After: soonest(wait, unseen, unseen2)}, errors.Join(failure, err)
}

// observation is what a ReplicaSet has: the cache, corrected by the ledger.
type observation struct {
	active      []*corev1.Pod
	terminating int
}

// observe counts pods that were created but not seen, and leaves out pods that
// were deleted but not seen. The duration is when the ledger wants a new look.
func (c *Controller) observe(set *appsv1.ReplicaSet, owned []*corev1.Pod) (observation, time.Duration) {
	created, wait1 := c.created.Open(set.UID)
	deleted, wait2 := c.deleted.Open(set.UID)
	var o observation
	for _, pod := range owned {
		delete(created, pod.Name)
		_, going := deleted[string(pod.UID)]
		switch {
		case podstate.Terminal(pod):
		case going || pod.DeletionTimestamp != nil:
			o.terminating++
		default:
			o.active = append(o.active, pod)
		}
	}
	for _, pod := range created {
		o.active = append(o.active, pod)
	}
	return o, soonest(wait1, wait2)
}

// soonest returns the shortest positive duration.
func soonest(list ...time.Duration) time.Duration {
	var least time.Duration
	for _, d := range list {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	return least
}

// podEvents wakes the ReplicaSet a pod belongs to, or those that might want it.
func (c *Controller) podEvents() reconcile.Handler {
	seen := func(o metav1.Object, gone bool) {
		owner := metav1.GetControllerOfNoCopy(o)
		if owner == nil {
			c.wakeMatching(o)
			return
		}
		if owner.Kind != kind.Kind {
			return
		}
		c.created.Strike(owner.UID, o.GetName())
		if gone || o.GetDeletionTimestamp() != nil {
			c.deleted.Strike(owner.UID, string(o.GetUID()))
		}
		if set, err := c.sets.ReplicaSets(o.GetNamespace()).Get(owner.Name); err == nil && set.UID == owner.UID {
			c.loop.Add(cache.MetaObjectToName(set))
		}
	}
	return reconcile.Handler{
		Add: func(o metav1.Object) { seen(o, false) },
		Update: func(old, o metav1.Object) {
			was, is := metav1.GetControllerOfNoCopy(old), metav1.GetControllerOfNoCopy(o)
			if was != nil && (is == nil || is.UID != was.UID) {
				seen(old, false)
			}
			seen(o, false)
		},
		Delete: func(o metav1.Object) { seen(o, true) },
	}
}

// wakeMatching wakes every ReplicaSet whose selector matches a pod that nobody
// controls.
func (c *Controller) wakeMatching(pod metav1.Object) {
	if pod.GetDeletionTimestamp() != nil || len(pod.GetLabels()) == 0 {
		return
	}
	sets, err := c.sets.ReplicaSets(pod.GetNamespace()).List(labels.Everything())
	if err != nil {
		return
	}
	for _, set := range sets {
		selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.GetLabels())) {
			c.loop.Add(cache.MetaObjectToName(set))
		}
	}
}

// ranks says for each active pod how many active pods of the same Deployment
// run on its node; the fuller node loses a pod first.
func (c *Controller) ranks(set *appsv1.ReplicaSet, active []*corev1.Pod) []int {
	if len(active) <= int(replicasOf(set)) {
		return nil
	}
	perNode := map[string]int{}
	for _, uid := range c.siblings(set) {
		pods, err := reconcile.ControlledBy[*corev1.Pod](c.pods, uid)
		if err != nil {
			continue
		}
		for _, pod := range pods {
			if podstate.Active(pod) {
				perNode[pod.Spec.NodeName]++
			}
		}
	}
	ranks := make([]int, len(active))
	for i, pod := range active {
		ranks[i] = perNode[pod.Spec.NodeName]
	}
	return ranks
}

// siblings are the uids of the ReplicaSets with the same controller, and the
// set's own.
func (c *Controller) siblings(set *appsv1.ReplicaSet) []types.UID {
	owner := metav1.GetControllerOfNoCopy(set)
	if owner == nil {
		return []types.UID{set.UID}
	}
	sets, err := reconcile.ControlledBy[*appsv1.ReplicaSet](c.setIndex, owner.UID)
	if err != nil || len(sets) == 0 {
		return []types.UID{set.UID}
	}
	var uids []types.UID
	for _, s := range sets {
		uids = append(uids, s.UID)
	}
	return uids
}

func replicasOf(set *appsv1.ReplicaSet) int32 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}

func describe(set *appsv1.ReplicaSet) string {
	return fmt.Sprintf("%s/%s", set.Namespace, set.Name)
}
