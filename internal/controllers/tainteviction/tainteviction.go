// Package tainteviction deletes pods from nodes with a taint of the effect
// NoExecute that they do not tolerate, or no longer.
//
// Owns: the condition DisruptionTarget of the pods it deletes. Reads: pods,
// nodes. Writes: pods (deletion), pods/status, events.
//
// Invariants: a pod that tolerates every such taint stays, for as long as the
// shortest tolerationSeconds among the tolerations used, counted from when the
// node's taints were first seen to concern it; when the taints go, the deletion
// is called off.
//
// Differences from upstream: a deadline is a wish of the pod's key to be looked
// at again, and every look judges anew.
package tainteviction

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"go.skiff.dev/skiff/internal/reconcile"
)

const (
	// Name is the controller's name; events carry it as upstream's do.
	Name = "taint-eviction-controller"
	// byNode is the index from a node to its pods.
	byNode = "node"
)

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	Options   reconcile.Options[cache.ObjectName]
}

// Controller is the taint eviction controller; its keys are pods.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	pods     corelisters.PodLister
	index    cache.Indexer
	nodes    corelisters.NodeLister
	loop     *reconcile.Loop[cache.ObjectName]

	mu sync.Mutex
	// since is when taints were first seen to concern a pod.
	since map[types.UID]time.Time
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	core := d.Informers.Core().V1()
	pods := core.Pods().Informer()
	err := pods.AddIndexers(cache.Indexers{byNode: func(object any) ([]string, error) {
		if pod, ok := object.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}, nil
		}
		return nil, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("adding the node index: %w", err)
	}
	c := &Controller{
		client: d.Client, recorder: d.Recorder, pods: core.Pods().Lister(), index: pods.GetIndexer(),
		nodes: core.Nodes().Lister(), since: map[types.UID]time.Time{},
	}
	o := d.Options
	o.Name, o.Reconcile, o.Workers = Name, c.Reconcile, 4
	c.loop = reconcile.New(o)
	c.loop.WatchEvents(core.Nodes().Informer(), reconcile.Handler{
		Add: func(n metav1.Object) { c.nodeChanged(n.(*corev1.Node)) },
		Update: func(old, n metav1.Object) {
			if !equality.Semantic.DeepEqual(old.(*corev1.Node).Spec.Taints, n.(*corev1.Node).Spec.Taints) {
				c.nodeChanged(n.(*corev1.Node))
			}
		},
	})
	c.loop.WatchEvents(pods, reconcile.Handler{
		Add: func(o metav1.Object) { c.podChanged(nil, o.(*corev1.Pod)) },
		Update: func(old, o metav1.Object) {
			c.podChanged(old.(*corev1.Pod), o.(*corev1.Pod))
		},
		Delete: func(o metav1.Object) { c.forget(o.GetUID()) },
	})
	return c, nil
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{reconcile.Watches("", "pods"), reconcile.Watches("", "nodes")}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Does("", "pods", "delete"), reconcile.Does("", "pods/status", "patch"), reconcile.Records(),
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) nodeChanged(n *corev1.Node) {
	objects, err := c.index.ByIndex(byNode, n.Name)
	if err != nil {
		return
	}
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok {
			c.loop.Add(cache.MetaObjectToName(pod))
		}
	}
}

// podChanged wakes for a pod that came to a node, or whose tolerations grew.
func (c *Controller) podChanged(old, pod *corev1.Pod) {
	if pod.Spec.NodeName == "" || old != nil && old.Spec.NodeName == pod.Spec.NodeName &&
		len(old.Spec.Tolerations) == len(pod.Spec.Tolerations) {
		return
	}
	if n, err := c.nodes.Get(pod.Spec.NodeName); err == nil && len(n.Spec.Taints) > 0 {
		c.loop.Add(cache.MetaObjectToName(pod))
	}
}

// Reconcile judges one pod.
func (c *Controller) Reconcile(ctx context.Context, key cache.ObjectName) (reconcile.Result, error) {
	pod, err := c.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || err == nil && pod.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	node, err := c.nodes.Get(pod.Spec.NodeName)
	if err != nil {
		return reconcile.Result{}, nil
	}
	stay, limited := patience(pod, node.Spec.Taints)
	if !limited {
		if c.forget(pod.UID) {
			c.recorder.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s", key)
		}
		return reconcile.Result{}, nil
	}
	if left := stay - c.loop.Clock.Since(c.first(pod.UID)); left > 0 {
		return reconcile.Result{After: left}, nil
	}
	c.recorder.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s", key)
	return reconcile.Result{}, c.evict(ctx, pod)
}

// first returns when the taints were first seen to concern the pod.
func (c *Controller) first(uid types.UID) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.since[uid]; !ok {
		c.since[uid] = c.loop.Clock.Now()
	}
	return c.since[uid]
}

func (c *Controller) forget(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.since[uid]
	delete(c.since, uid)
	return ok
}

// patience is how long the pod bears the taints: not limited if it tolerates
// all of them for ever, zero if it does not tolerate one.
func patience(pod *corev1.Pod, taints []corev1.Taint) (stay time.Duration, limited bool) {
	for i := range taints {
		taint := &taints[i]
		if taint.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		at := slices.IndexFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
			return t.ToleratesTaint(klog.Background(), taint, true)
		})
		if at < 0 {
			return 0, true
		}
		seconds := pod.Spec.Tolerations[at].TolerationSeconds
		if seconds == nil {
			continue
		}
		bears := max(0, time.Duration(*seconds)*time.Second)
		if !limited || bears < stay {
			stay, limited = bears, true
		}
	}
	return stay, limited
}

func (c *Controller) evict(ctx context.Context, pod *corev1.Pod) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
			Message:            "Taint manager: deleting due to NoExecute taint",
			LastTransitionTime: metav1.NewTime(c.loop.Clock.Now()), ObservedGeneration: pod.Generation,
		}}},
	})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	_, err = c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err == nil {
		err = c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *metav1.NewPreconditionDeleteOptions(string(pod.UID)))
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("evicting pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
