// Package nodehealth says of a node that it is out of reach when its heartbeats
// stop, and keeps the taints that follow from a node's conditions.
//
// Owns: the node's conditions while its heartbeat is late (status Unknown); the
// taints node.kubernetes.io/{not-ready,unreachable,unschedulable,
// memory-pressure,disk-pressure,pid-pressure,network-unavailable}; the Ready
// condition of pods on a node that is out of reach.
// Reads: nodes, leases in kube-node-lease, pods. Writes: nodes (taints),
// nodes/status, pods/status, events.
//
// Invariants: a heartbeat is judged by when it was seen to change, by our own
// clock, so that clocks may differ; the time of the judgement is the only timer,
// one per node; where no node at all is heard, the fault is nearer to us than to
// them, and nobody gets a NoExecute taint: a slow disk is slow, not fatal.
//
// Differences from upstream: no scan every 5 s; one deadline per node.
package nodehealth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"

	"go.skiff.dev/skiff/internal/reconcile"
)

const (
	// Name is the controller's name; events carry it as upstream's do.
	Name = "node-controller"
	// grace is how long a heartbeat may be late (upstream: 50 s since v1.32).
	grace = 50 * time.Second
)

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	Options   reconcile.Options[string]
}

// Controller is the node health controller; its keys are nodes.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	nodes    corelisters.NodeLister
	pods     corelisters.PodLister
	loop     *reconcile.Loop[string]

	mu sync.Mutex
	// heard is when a node's last heartbeat was seen.
	heard map[string]time.Time
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	core := d.Informers.Core().V1()
	c := &Controller{client: d.Client, recorder: d.Recorder, nodes: core.Nodes().Lister(), pods: core.Pods().Lister(), heard: map[string]time.Time{}}
	o := d.Options
	o.Name, o.Reconcile, o.Workers = Name, c.Reconcile, 2
	c.loop = reconcile.New(o)
	c.loop.WatchEvents(core.Nodes().Informer(), reconcile.Handler{
		Add: func(n metav1.Object) { c.hear(n.GetName()); c.loop.Add(n.GetName()) },
		Update: func(old, n metav1.Object) {
			if heartbeat(old.(*corev1.Node)) != heartbeat(n.(*corev1.Node)) {
				c.hear(n.GetName())
			}
			c.loop.Add(n.GetName())
		},
		Delete: func(n metav1.Object) { c.loop.Add(n.GetName()) },
	})
	c.loop.WatchEvents(d.Informers.Coordination().V1().Leases().Informer(), reconcile.Handler{
		Add:    func(l metav1.Object) { c.renewed(nil, l.(*coordinationv1.Lease)) },
		Update: func(old, l metav1.Object) { c.renewed(old.(*coordinationv1.Lease), l.(*coordinationv1.Lease)) },
	})
	c.loop.Needs(core.Pods().Informer())
	return c, nil
}

// heartbeat is the time a kubelet wrote into the node's Ready condition.
func heartbeat(n *corev1.Node) metav1.Time {
	if c := condition(n, corev1.NodeReady); c != nil && c.Status != corev1.ConditionUnknown {
		return c.LastHeartbeatTime
	}
	return metav1.Time{}
}

// renewed notes a lease that was renewed. It wakes the loop only for a node
// that is thought to be out of reach: in health a renewal costs nothing.
func (c *Controller) renewed(old, lease *coordinationv1.Lease) {
	if lease.Namespace != corev1.NamespaceNodeLease || lease.Spec.RenewTime == nil ||
		old != nil && old.Spec.RenewTime != nil && old.Spec.RenewTime.Equal(lease.Spec.RenewTime) {
		return
	}
	c.hear(lease.Name)
}

func (c *Controller) hear(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[node] = c.loop.Clock.Now()
}

// silence is how long nothing was heard of the node.
func (c *Controller) silence(node string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.heard[node]
	if !ok {
		last = c.loop.Clock.Now()
		c.heard[node] = last
	}
	return c.loop.Clock.Since(last)
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Watches("", "nodes"), reconcile.Watches("", "pods"), reconcile.Watches("coordination.k8s.io", "leases"),
	}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Does("", "nodes", "patch"), reconcile.Does("", "nodes/status", "patch"),
		reconcile.Does("", "pods/status", "patch"), reconcile.Records(),
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// Reconcile judges one node.
func (c *Controller) Reconcile(ctx context.Context, name string) (reconcile.Result, error) {
	node, err := c.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		c.mu.Lock()
		delete(c.heard, name)
		c.mu.Unlock()
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	wait := grace - c.silence(name)
	if wait <= 0 {
		wait = grace
		if err := c.markUnknown(ctx, node); err != nil {
			return reconcile.Result{}, err
		}
	}
	result := reconcile.Result{After: wait}
	if err := c.writeTaints(ctx, node, taintsOf(node, c.othersHeard(name), c.loop.Clock.Now())); err != nil {
		return result, err
	}
	if ready := condition(node, corev1.NodeReady); ready != nil && ready.Status == corev1.ConditionUnknown {
		return result, c.markPods(ctx, name)
	}
	return result, nil
}

// othersHeard reports whether any other node is heard: if not, we are the deaf.
func (c *Controller) othersHeard(name string) bool {
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return false
	}
	for _, n := range nodes {
		if n.Name != name && c.silence(n.Name) < grace {
			return true
		}
	}
	return false
}

// markUnknown says that the node's conditions are not known any more.
func (c *Controller) markUnknown(ctx context.Context, node *corev1.Node) error {
	now := metav1.NewTime(c.loop.Clock.Now())
	var changed []corev1.NodeCondition
	for _, kind := range []corev1.NodeConditionType{
		corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure,
	} {
		next := corev1.NodeCondition{
			Type: kind, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated",
			Message: "Kubelet never posted node status.", LastTransitionTime: now, LastHeartbeatTime: node.CreationTimestamp,
		}
		if have := condition(node, kind); have != nil {
			if have.Status == corev1.ConditionUnknown {
				continue
			}
			next.Reason, next.Message = "NodeStatusUnknown", "Kubelet stopped posting node status."
			next.LastHeartbeatTime = have.LastHeartbeatTime
		}
		changed = append(changed, next)
	}
	if len(changed) == 0 {
		return nil
	}
	c.recorder.Eventf(&corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: types.UID(node.Name)},
		corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	return c.patchNode(ctx, node, map[string]any{"status": map[string]any{"conditions": changed}}, "status")
}

func (c *Controller) patchNode(ctx context.Context, node *corev1.Node, change map[string]any, subresources ...string) error {
	patch, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	_, err = c.client.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, subresources...)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patching node %q: %w", node.Name, err)
	}
	return nil
}

// markPods makes the pods of a node out of reach not ready, so that Services
// stop sending to them.
func (c *Controller) markPods(ctx context.Context, node string) error {
	pods, err := c.pods.List(labels.Everything())
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods {
		if pod.Spec.NodeName != node {
			continue
		}
		for i := range pod.Status.Conditions {
			ready := pod.Status.Conditions[i]
			if ready.Type != corev1.PodReady || ready.Status != corev1.ConditionTrue {
				continue
			}
			ready.Status, ready.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(c.loop.Clock.Now())
			patch, err := json.Marshal(map[string]any{
				"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{"conditions": []corev1.PodCondition{ready}},
			})
			if err == nil {
				_, err = c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
			}
			if err != nil && !apierrors.IsNotFound(err) {
				errs = append(errs, fmt.Errorf("marking pod %s/%s not ready: %w", pod.Namespace, pod.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}
