package replicaset

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"go.skiff.dev/skiff/internal/controllers/podstate"
)

// updateStatus writes the status if it changed. The duration is when the next
// ready pod becomes available (minReadySeconds).
func (c *Controller) updateStatus(ctx context.Context, set *appsv1.ReplicaSet, o observation, p plan, failure error) (time.Duration, error) {
	status, wait := statusOf(set, o, p, failure, c.now())
	if equality.Semantic.DeepEqual(set.Status, status) {
		return wait, nil
	}
	set.Status = status
	_, err := c.client.AppsV1().ReplicaSets(set.Namespace).UpdateStatus(ctx, set, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return wait, fmt.Errorf("updating status of replica set %q: %w", describe(set), err)
	}
	return wait, nil
}

// statusOf computes the whole status from what is observed.
func statusOf(set *appsv1.ReplicaSet, o observation, p plan, failure error, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	template := labels.Set(set.Spec.Template.Labels).AsSelectorPreValidated()
	minReady := time.Duration(set.Spec.MinReadySeconds) * time.Second
	terminating := int32(o.terminating)
	status := appsv1.ReplicaSetStatus{
		Replicas: int32(len(o.active)), TerminatingReplicas: &terminating, ObservedGeneration: set.Generation,
		Conditions: conditions(set.Status.Conditions, p, failure, now),
	}
	var wait time.Duration
	for _, pod := range o.active {
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		if !podstate.Ready(pod) {
			continue
		}
		status.ReadyReplicas++
		available, left := podstate.Available(pod, minReady, now)
		if available {
			status.AvailableReplicas++
		}
		wait = soonest(wait, left)
	}
	return status, wait
}

// conditions sets ReplicaFailure while pods cannot be created or deleted.
func conditions(have []appsv1.ReplicaSetCondition, p plan, failure error, now time.Time) []appsv1.ReplicaSetCondition {
	var list []appsv1.ReplicaSetCondition
	for _, condition := range have {
		if condition.Type != appsv1.ReplicaSetReplicaFailure {
			list = append(list, condition)
			continue
		}
		if failure != nil {
			// The first failure stays until it is over, as upstream.
			return have
		}
	}
	if failure == nil {
		return list
	}
	reason := "FailedDelete"
	if p.create > 0 {
		reason = "FailedCreate"
	}
	return append(list, appsv1.ReplicaSetCondition{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: failure.Error(),
	})
}
