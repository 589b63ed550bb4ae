package scheduler

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// bind writes an assumed decision; on failure the assumption is taken back. pod
// is what was decided about: w may hold a newer version meanwhile.
func (s *Scheduler) bind(ctx context.Context, w *waiting, pod *corev1.Pod, node string) {
	err := s.deps.Client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if err == nil {
		s.deps.Recorder.Eventf(pod, corev1.EventTypeNormal, "Scheduled", "Successfully assigned %v/%v to %v", pod.Namespace, pod.Name, node)
		return
	}
	s.locked(func() {
		if s.snapshot.assumed[pod.UID] {
			s.snapshot.dropPod(pod.UID)
			// The room is free again for others that were rejected meanwhile.
			s.queue.tell(podGone)
		}
		if apierrors.IsNotFound(err) {
			s.queue.drop(pod.UID)
			return
		}
		s.queue.retry(w)
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || ctx.Err() != nil ||
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return
	}
	s.deps.Log.Warn("binding a pod will be tried again", "pod", pod.Namespace+"/"+pod.Name, "node", node, "error", err)
	s.deps.Recorder.Eventf(pod, corev1.EventTypeWarning, "FailedScheduling", "binding rejected: %v", err)
}

// reject says on the pod why it has no node, makes room where that was found
// possible, and parks the pod.
func (s *Scheduler) reject(ctx context.Context, w *waiting, pod *corev1.Pod, wakes event, message string, way *eviction) {
	defer s.locked(func() { s.queue.park(w, wakes) })
	if way != nil {
		s.evict(ctx, pod, way)
	}
	s.deps.Recorder.Event(pod, corev1.EventTypeWarning, "FailedScheduling", message)
	nominated := ""
	if way != nil {
		nominated = way.node
	}
	if err := s.writeCondition(ctx, pod, message, nominated); err != nil && !apierrors.IsNotFound(err) {
		s.deps.Log.Debug("writing a pod's condition will be tried again", "pod", pod.Namespace+"/"+pod.Name, "error", err)
		wakes = ^event(0)
	}
}

func (s *Scheduler) writeCondition(ctx context.Context, pod *corev1.Pod, message, nominated string) error {
	now := metav1.NewTime(s.deps.Clock.Now())
	status := map[string]any{}
	for i := range pod.Status.Conditions {
		c := &pod.Status.Conditions[i]
		if c.Type != corev1.PodScheduled {
			continue
		}
		if c.Status == corev1.ConditionFalse {
			now = c.LastTransitionTime
		}
		if c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable && c.Message == message &&
			(nominated == "" || pod.Status.NominatedNodeName == nominated) {
			return nil
		}
	}
	status["conditions"] = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: message, LastTransitionTime: now, ObservedGeneration: pod.Generation,
	}}
	if nominated != "" {
		status["nominatedNodeName"] = nominated
	}
	return s.patchStatus(ctx, pod, status)
}

func (s *Scheduler) patchStatus(ctx context.Context, pod *corev1.Pod, status map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	_, err = s.deps.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// evict deletes the victims of a preemption, gracefully, and says why on each.
func (s *Scheduler) evict(ctx context.Context, pod *corev1.Pod, way *eviction) {
	for _, p := range way.victims {
		victim := p.pod
		if victim.DeletionTimestamp != nil {
			continue
		}
		err := s.patchStatus(ctx, victim, map[string]any{"conditions": []corev1.PodCondition{{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
			Message:            fmt.Sprintf("%s: preempting to accommodate a higher priority pod", Name),
			LastTransitionTime: metav1.NewTime(s.deps.Clock.Now()), ObservedGeneration: victim.Generation,
		}}})
		if err == nil {
			err = s.deps.Client.CoreV1().Pods(victim.Namespace).Delete(ctx, victim.Name, *metav1.NewPreconditionDeleteOptions(string(victim.UID)))
		}
		if err != nil && !apierrors.IsNotFound(err) {
			s.deps.Log.Warn("preempting a pod will be tried again", "pod", victim.Namespace+"/"+victim.Name, "error", err)
			continue
		}
		s.deps.Recorder.Eventf(victim, corev1.EventTypeNormal, "Preempted", "Preempted by pod %v on node %v", pod.UID, way.node)
	}
}
