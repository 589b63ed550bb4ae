package scheduler

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/internal/reconcile"
)

// listen keeps the snapshot and the queue current with the informers.
func (s *Scheduler) listen() {
	core := s.deps.Informers.Core().V1()
	s.synced = append(s.synced,
		reconcile.Subscribe(core.Nodes().Informer(), reconcile.Handler{
			Add:    func(o metav1.Object) { s.nodeCame(o.(*corev1.Node)) },
			Update: func(old, o metav1.Object) { s.nodeChanged(old.(*corev1.Node), o.(*corev1.Node)) },
			Delete: func(o metav1.Object) { s.locked(func() { s.snapshot.dropNode(o.GetName()) }) },
		}),
		reconcile.Subscribe(core.Namespaces().Informer(), reconcile.Handler{
			Update: func(old, o metav1.Object) {
				if !equality.Semantic.DeepEqual(old.GetLabels(), o.GetLabels()) {
					s.locked(func() { s.queue.tell(podLabels) })
				}
			},
		}),
		reconcile.Subscribe(core.Pods().Informer(), reconcile.Handler{
			Add:    func(o metav1.Object) { s.podChanged(nil, o.(*corev1.Pod)) },
			Update: func(old, o metav1.Object) { s.podChanged(old.(*corev1.Pod), o.(*corev1.Pod)) },
			Delete: func(o metav1.Object) { s.podLeft(o.(*corev1.Pod)) },
		}),
	)
}

func (s *Scheduler) nodeCame(n *corev1.Node) {
	s.locked(func() {
		s.snapshot.setNode(n)
		s.queue.tell(nodeAdded)
	})
}

func (s *Scheduler) nodeChanged(old, n *corev1.Node) {
	var kinds event
	if !equality.Semantic.DeepEqual(old.Labels, n.Labels) {
		kinds |= nodeLabels
	}
	if old.Spec.Unschedulable != n.Spec.Unschedulable || !equality.Semantic.DeepEqual(old.Spec.Taints, n.Spec.Taints) {
		kinds |= nodeTaints
	}
	if !equality.Semantic.DeepEqual(old.Status.Allocatable, n.Status.Allocatable) {
		kinds |= nodeRoom
	}
	s.locked(func() {
		s.snapshot.setNode(n)
		s.queue.tell(kinds)
	})
}

// podChanged sorts a pod into the snapshot or the queue.
func (s *Scheduler) podChanged(old, pod *corev1.Pod) {
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		s.podLeft(pod)
	case pod.Spec.NodeName != "":
		p := newPodInfo(pod)
		s.locked(func() {
			kinds := changeOf(old, pod)
			// A smaller request is room when the node has made it true: the status says so.
			if before := s.snapshot.pod(pod.UID); before != nil && p.wants.lessThan(&before.wants) {
				kinds |= podGone
			}
			s.queue.drop(pod.UID)
			s.snapshot.addPod(p)
			s.queue.tell(kinds)
		})
	case pod.DeletionTimestamp != nil:
		s.podLeft(pod)
	case pod.Spec.SchedulerName == Name || pod.Spec.SchedulerName == "":
		s.locked(func() { s.queue.put(pod) })
	}
}

// changeOf says what a new version of a placed pod means to those who wait.
func changeOf(old, pod *corev1.Pod) event {
	if old == nil || old.Spec.NodeName == "" {
		return podCame
	}
	var kinds event
	if !equality.Semantic.DeepEqual(old.Labels, pod.Labels) {
		kinds |= podLabels
	}
	if old.DeletionTimestamp == nil && pod.DeletionTimestamp != nil {
		kinds |= podGone
	}
	return kinds
}

func (s *Scheduler) podLeft(pod *corev1.Pod) {
	s.locked(func() {
		s.queue.drop(pod.UID)
		if s.snapshot.dropPod(pod.UID) {
			s.queue.tell(podGone)
		}
	})
}
