// Package apps is the kinds of the group apps: Deployment, ReplicaSet and
// ControllerRevision, with the scale subresource.
package apps

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
	"go.skiff.dev/skiff/internal/apiserver/resource/podspec"
)

// Deployment describes the kind.
func Deployment() kind.Kind[*appsv1.Deployment] {
	return kind.Kind[*appsv1.Deployment]{
		Resource:   schema.GroupResource{Group: appsv1.GroupName, Resource: "deployments"},
		Version:    "v1",
		Singular:   "deployment",
		ShortNames: []string{"deploy"},
		Categories: []string{"all"},
		Namespaced: true,
		New:        func() *appsv1.Deployment { return &appsv1.Deployment{} },
		NewList:    func() runtime.Object { return &appsv1.DeploymentList{} },
		Rules: kind.Rules[*appsv1.Deployment]{
			PrepareForCreate: func(_ context.Context, d *appsv1.Deployment) {
				d.Status = appsv1.DeploymentStatus{}
				d.Generation = 1
			},
			PrepareForUpdate: func(_ context.Context, d, old *appsv1.Deployment) {
				d.Status = old.Status
				// Annotations count: the controller copies them to replica sets.
				if !equality.Semantic.DeepEqual(d.Spec, old.Spec) || !equality.Semantic.DeepEqual(d.Annotations, old.Annotations) {
					d.Generation = old.Generation + 1
				}
			},
			Validate:       validateDeployment,
			ValidateUpdate: validateDeploymentUpdate,
			Warn: func(_ context.Context, d, old *appsv1.Deployment) []string {
				return templateWarnings(d, old == nil, old != nil && old.Generation == d.Generation, &d.Spec.Template)
			},
			Reset: []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		},
		Status: &kind.Rules[*appsv1.Deployment]{
			PrepareForUpdate: func(_ context.Context, d, old *appsv1.Deployment) {
				d.Spec = old.Spec
				d.Labels = old.Labels
			},
			ValidateUpdate: validateDeploymentStatus,
			Reset:          []fieldpath.Path{fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("metadata", "labels")},
		},
		Table: kind.Table[*appsv1.Deployment]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("Ready", "Number of the pod with ready state"),
				// Numbers in columns of text, as upstream.
				kind.Column("Up-to-date", appsv1.DeploymentStatus{}.SwaggerDoc()["updatedReplicas"]),
				kind.Column("Available", appsv1.DeploymentStatus{}.SwaggerDoc()["availableReplicas"]),
				kind.AgeColumn(),
				kind.Wide(kind.Column("Containers", "Names of each container in the template.")),
				kind.Wide(kind.Column("Images", "Images referenced by each container in the template.")),
				kind.Wide(kind.Column("Selector", appsv1.DeploymentSpec{}.SwaggerDoc()["selector"])),
			},
			Row: func(d *appsv1.Deployment) []any {
				names, images := containers(d.Spec.Template.Spec.Containers)
				selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
				text := "<invalid>"
				if err == nil {
					text = selector.String()
				}
				return []any{
					d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, replicas(d.Spec.Replicas)),
					int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas),
					kind.Age(d.CreationTimestamp), names, images, text,
				}
			},
		},
	}
}

// DefaultDeployment sets what a manifest may leave out, besides the template's
// own defaults.
func DefaultDeployment(d *appsv1.Deployment) {
	if d.Spec.Replicas == nil {
		d.Spec.Replicas = one()
	}
	strategy := &d.Spec.Strategy
	if strategy.Type == "" {
		strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if strategy.RollingUpdate == nil {
			strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		quarter := intstr.FromString("25%")
		if strategy.RollingUpdate.MaxUnavailable == nil {
			strategy.RollingUpdate.MaxUnavailable = &quarter
		}
		if strategy.RollingUpdate.MaxSurge == nil {
			surge := quarter
			strategy.RollingUpdate.MaxSurge = &surge
		}
	}
	if d.Spec.RevisionHistoryLimit == nil {
		d.Spec.RevisionHistoryLimit = new(int32)
		*d.Spec.RevisionHistoryLimit = 10
	}
	if d.Spec.ProgressDeadlineSeconds == nil {
		d.Spec.ProgressDeadlineSeconds = new(int32)
		*d.Spec.ProgressDeadlineSeconds = 600
	}
}

// templateWarnings warns of a template, unless the spec is what it was.
func templateWarnings(owner metav1.Object, created, same bool, t *corev1.PodTemplateSpec) []string {
	var list []string
	if created {
		list = podspec.NameWarning(owner.GetName(), "Pod names and hostnames")
	}
	if same {
		return list
	}
	return append(list, podspec.Warnings(&t.ObjectMeta, &t.Spec, field.NewPath("spec", "template"))...)
}
