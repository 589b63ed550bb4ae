package deployment

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// apply carries out the step, and keeps o up to date with what it did.
func (c *Controller) apply(ctx context.Context, d *appsv1.Deployment, o *observation, s step) error {
	if err := c.syncCurrent(ctx, d, o); err != nil {
		return err
	}
	if s.create {
		if err := c.createCurrent(ctx, d, o, s.replicas); err != nil {
			return err
		}
	}
	for _, scale := range s.scale {
		if err := c.scale(ctx, d, o, scale); err != nil {
			return err
		}
	}
	for _, set := range s.prune {
		err := c.client.AppsV1().ReplicaSets(set.Namespace).Delete(ctx, set.Name, *metav1.NewPreconditionDeleteOptions(string(set.UID)))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting old replica set %q: %w", set.Name, err)
		}
	}
	return nil
}

// syncCurrent keeps the annotations, revision and minReadySeconds of the
// current ReplicaSet as the Deployment says, and the Deployment's revision.
func (c *Controller) syncCurrent(ctx context.Context, d *appsv1.Deployment, o *observation) error {
	if o.current == nil {
		return nil
	}
	set := o.current.DeepCopy()
	changed := annotateCurrent(set, d, nextRevision(o.old), false)
	if set.Spec.MinReadySeconds != d.Spec.MinReadySeconds {
		set.Spec.MinReadySeconds = d.Spec.MinReadySeconds
		changed = true
	}
	if changed {
		now, err := c.client.AppsV1().ReplicaSets(set.Namespace).Update(ctx, set, metav1.UpdateOptions{})
		if err != nil {
			return fmt.Errorf("updating replica set %q: %w", set.Name, err)
		}
		// The plan was made for this size and may be scaled next: keep pointing at it.
		*o.current = *now
	}
	if hasDeadline(d) && condition(d.Status.Conditions, appsv1.DeploymentProgressing) == nil {
		setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonFound,
			fmt.Sprintf("Found new replica set %q", set.Name), c.now())
	}
	return c.annotateRevision(ctx, d, o.current.Annotations[revisionAnnotation])
}

// annotateRevision writes the revision on the Deployment.
func (c *Controller) annotateRevision(ctx context.Context, d *appsv1.Deployment, revision string) error {
	if revision == "" || d.Annotations[revisionAnnotation] == revision {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": d.UID, "annotations": map[string]string{revisionAnnotation: revision},
	}})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	now, err := c.client.AppsV1().Deployments(d.Namespace).Patch(ctx, d.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("annotating the revision: %w", err)
	}
	if now.Generation == d.Generation {
		// The status is written next; it needs the newest version.
		d.ResourceVersion = now.ResourceVersion
	}
	d.Annotations = now.Annotations
	return nil
}

// createCurrent makes the ReplicaSet of the Deployment's template.
func (c *Controller) createCurrent(ctx context.Context, d *appsv1.Deployment, o *observation, replicas int32) error {
	want := newReplicaSet(d, replicas)
	annotateCurrent(want, d, nextRevision(o.old), true)
	made, err := c.client.AppsV1().ReplicaSets(d.Namespace).Create(ctx, want, metav1.CreateOptions{})
	switch {
	case apierrors.IsAlreadyExists(err):
		return c.resolveCollision(ctx, d, o, want)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case err != nil:
		return c.reportCreateError(ctx, d, want.Name, err)
	}
	o.current = made
	if replicas > 0 {
		c.recorder.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", made.Name, replicas)
	}
	if hasDeadline(d) {
		setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonCreated,
			fmt.Sprintf("Created new replica set %q", made.Name), c.now())
	}
	return c.annotateRevision(ctx, d, made.Annotations[revisionAnnotation])
}

// resolveCollision handles a ReplicaSet that has the name already. It is ours,
// only not in the cache yet, or another template hashes alike: then the
// collision count gives the next run another name.
func (c *Controller) resolveCollision(ctx context.Context, d *appsv1.Deployment, o *observation, want *appsv1.ReplicaSet) error {
	have, err := c.client.AppsV1().ReplicaSets(d.Namespace).Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading replica set %q: %w", want.Name, err)
	}
	if owner := metav1.GetControllerOfNoCopy(have); owner != nil && owner.UID == d.UID && sameTemplate(&have.Spec.Template, &d.Spec.Template) {
		o.current = have
		return nil
	}
	count := int32(1)
	if d.Status.CollisionCount != nil {
		count += *d.Status.CollisionCount
	}
	d.Status.CollisionCount = &count
	if _, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("counting a hash collision: %w", err)
	}
	return fmt.Errorf("creating replica set %q: another one has the name, trying the next", want.Name)
}

func (c *Controller) reportCreateError(ctx context.Context, d *appsv1.Deployment, name string, cause error) error {
	message := fmt.Sprintf("Failed to create new replica set %q: %v", name, cause)
	c.recorder.Event(d, corev1.EventTypeWarning, reasonCreateError, message)
	if hasDeadline(d) {
		changed := setCondition(&d.Status, appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonCreateError, message, c.now())
		if changed {
			if _, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil {
				return fmt.Errorf("reporting %w (%w)", err, cause)
			}
		}
	}
	return fmt.Errorf("creating replica set %q: %w", name, cause)
}

// newReplicaSet builds the ReplicaSet of the template; name, labels and
// selector carry the template's hash.
func newReplicaSet(d *appsv1.Deployment, replicas int32) *appsv1.ReplicaSet {
	template := d.Spec.Template.DeepCopy()
	hash := hashOf(template, d.Status.CollisionCount)
	template.Labels = withHash(template.Labels, hash)
	selector := d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: setName(d.Name, hash), Namespace: d.Namespace, Labels: maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas, MinReadySeconds: d.Spec.MinReadySeconds, Selector: selector, Template: *template,
		},
	}
}

// setName keeps within 253 characters, a name's limit.
func setName(deployment, hash string) string {
	if most := 253 - len(hash) - 1; len(deployment) > most {
		deployment = deployment[:most]
	}
	return deployment + "-" + hash
}

func withHash(labels map[string]string, hash string) map[string]string {
	with := maps.Clone(labels)
	if with == nil {
		with = map[string]string{}
	}
	with[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return with
}

// scale writes a ReplicaSet's size and tells of it.
func (c *Controller) scale(ctx context.Context, d *appsv1.Deployment, o *observation, s scaling) error {
	set, from := s.set.DeepCopy(), asked(s.set)
	if annotated := annotateSize(set, d); from == s.to && !annotated {
		return nil
	}
	set.Spec.Replicas = &s.to
	now, err := c.client.AppsV1().ReplicaSets(set.Namespace).Update(ctx, set, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("scaling replica set %q: %w", set.Name, err)
	}
	o.replace(now)
	direction := "up"
	if s.to < from {
		direction = "down"
	}
	if s.to != from {
		c.recorder.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet",
			"Scaled %s replica set %s from %d to %d", direction, set.Name, from, s.to)
	}
	return nil
}
