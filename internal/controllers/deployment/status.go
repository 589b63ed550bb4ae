package deployment

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/internal/reconcile"
)

// updateStatus writes the status if it changed, and asks to be called again
// when the progress deadline may have passed.
func (c *Controller) updateStatus(ctx context.Context, d *appsv1.Deployment, before *appsv1.DeploymentStatus, o observation, rollout bool) (reconcile.Result, error) {
	now := c.now()
	status := statusOf(d, o, now)
	if rollout {
		judge(d, before, &status, o, now)
	}
	result := reconcile.Result{After: deadlineIn(d, &status, now)}
	if equality.Semantic.DeepEqual(before, &status) {
		return result, nil
	}
	d.Status = status
	_, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return result, fmt.Errorf("updating status of deployment %q: %w", d.Name, err)
	}
	return result, nil
}

// statusOf counts, and says whether enough pods are available.
func statusOf(d *appsv1.Deployment, o observation, now time.Time) appsv1.DeploymentStatus {
	all := o.all()
	ready := sum(all, func(s *appsv1.ReplicaSet) int32 { return s.Status.ReadyReplicas })
	availableNow := sum(all, func(s *appsv1.ReplicaSet) int32 { return s.Status.AvailableReplicas })
	status := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: sum(all, actual), ReadyReplicas: ready,
		AvailableReplicas: availableNow, UnavailableReplicas: max(0, sum(all, asked)-availableNow),
		TerminatingReplicas: terminating(all), CollisionCount: d.Status.CollisionCount,
	}
	if o.current != nil {
		status.UpdatedReplicas = actual(o.current)
	}
	for _, c := range d.Status.Conditions {
		status.Conditions = append(status.Conditions, *c.DeepCopy())
	}
	_, unavailable := fenceposts(d)
	if availableNow >= replicasOf(d)-unavailable {
		setCondition(&status, appsv1.DeploymentAvailable, corev1.ConditionTrue, reasonEnough,
			"Deployment has minimum availability.", now)
	} else {
		setCondition(&status, appsv1.DeploymentAvailable, corev1.ConditionFalse, reasonTooFew,
			"Deployment does not have minimum availability.", now)
	}
	return status
}

// terminating is unknown (nil) until every ReplicaSet has reported it.
func terminating(sets []*appsv1.ReplicaSet) *int32 {
	var total int32
	for _, set := range sets {
		if set.Status.TerminatingReplicas == nil {
			return nil
		}
		total += *set.Status.TerminatingReplicas
	}
	return &total
}

// judge says how the rollout goes: complete, progressing, or stuck.
func judge(d *appsv1.Deployment, before, status *appsv1.DeploymentStatus, o observation, now time.Time) {
	progressing := condition(status.Conditions, appsv1.DeploymentProgressing)
	finished := status.Replicas == status.UpdatedReplicas && progressing != nil && progressing.Reason == reasonComplete
	if !hasDeadline(d) {
		dropCondition(status, appsv1.DeploymentProgressing)
	} else if !finished {
		judgeProgress(d, before, status, o, now)
	}
	if failure := replicaFailure(o); failure != nil {
		setCondition(status, failure.Type, failure.Status, failure.Reason, failure.Message, now)
	} else {
		dropCondition(status, appsv1.DeploymentReplicaFailure)
	}
}

func judgeProgress(d *appsv1.Deployment, before, status *appsv1.DeploymentStatus, o observation, now time.Time) {
	who := fmt.Sprintf("Deployment %q", d.Name)
	if o.current != nil {
		who = fmt.Sprintf("ReplicaSet %q", o.current.Name)
	}
	switch {
	case done(d, status):
		setCondition(status, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonComplete, who+" has successfully progressed.", now)
	case advanced(before, status):
		touchProgress(status, who+" is progressing.", now)
	case deadlinePassed(d, status, now):
		setCondition(status, appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimeout, who+" has timed out progressing.", now)
	}
}

// touchProgress renews the condition's update time, from which the deadline counts.
func touchProgress(status *appsv1.DeploymentStatus, message string, now time.Time) {
	fresh := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: reasonUpdated, Message: message,
		LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
	if old := condition(status.Conditions, appsv1.DeploymentProgressing); old != nil && old.Status == corev1.ConditionTrue {
		fresh.LastTransitionTime = old.LastTransitionTime
	}
	dropCondition(status, appsv1.DeploymentProgressing)
	status.Conditions = append(status.Conditions, fresh)
}

func done(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	want := replicasOf(d)
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

// advanced reports whether anything went the right way since the last status.
func advanced(before, s *appsv1.DeploymentStatus) bool {
	return s.UpdatedReplicas > before.UpdatedReplicas ||
		s.Replicas-s.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		s.ReadyReplicas > before.ReadyReplicas || s.AvailableReplicas > before.AvailableReplicas
}

func deadlinePassed(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) bool {
	c := condition(s.Conditions, appsv1.DeploymentProgressing)
	switch {
	case c == nil || c.Reason == reasonComplete:
		return false
	case c.Reason == reasonTimeout:
		return true
	}
	return c.LastUpdateTime.Add(deadline(d)).Before(now)
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

// deadlineIn is when to look again whether the rollout is stuck; zero if it is
// over, not judged, or known to be stuck.
func deadlineIn(d *appsv1.Deployment, s *appsv1.DeploymentStatus, now time.Time) time.Duration {
	c := condition(s.Conditions, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || c == nil || c.Reason == reasonTimeout || d.Spec.Paused || done(d, s) {
		return 0
	}
	if c.Reason == reasonComplete {
		return 0
	}
	// API times have whole seconds: one more makes sure that it has passed.
	return max(time.Second, c.LastUpdateTime.Add(deadline(d)).Sub(now)+time.Second)
}

// replicaFailure carries a ReplicaSet's failure to its Deployment, the current
// one's first.
func replicaFailure(o observation) *appsv1.DeploymentCondition {
	sets := o.all()
	for _, set := range slices.Backward(sets) {
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				return &appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
				}
			}
		}
	}
	return nil
}
