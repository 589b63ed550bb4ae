// Package namespace is the Namespace kind: its two-step deletion and the
// finalize subresource that ends it.
package namespace

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Kind describes Namespace.
func Kind() kind.Kind[*corev1.Namespace] {
	return kind.Kind[*corev1.Namespace]{
		Resource:   schema.GroupResource{Resource: "namespaces"},
		Version:    "v1",
		Singular:   "namespace",
		ShortNames: []string{"ns"},
		New:        func() *corev1.Namespace { return &corev1.Namespace{} },
		NewList:    func() runtime.Object { return &corev1.NamespaceList{} },
		Fields:     func(ns *corev1.Namespace) fields.Set { return fields.Set{"status.phase": string(ns.Status.Phase)} },
		Rules: kind.Rules[*corev1.Namespace]{
			Name:             validation.ValidateNamespaceName,
			PrepareForCreate: prepareForCreate,
			PrepareForUpdate: func(_ context.Context, ns, old *corev1.Namespace) {
				ns.Spec.Finalizers = old.Spec.Finalizers
				ns.Status = old.Status
			},
			Validate:       func(_ context.Context, ns *corev1.Namespace) field.ErrorList { return validateFinalizers(ns) },
			ValidateUpdate: func(context.Context, *corev1.Namespace, *corev1.Namespace) field.ErrorList { return nil },
			Reset:          []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		},
		Status: &kind.Rules[*corev1.Namespace]{
			PrepareForUpdate: func(_ context.Context, ns, old *corev1.Namespace) { ns.Spec = old.Spec },
			ValidateUpdate:   validateStatus,
			Reset:            []fieldpath.Path{fieldpath.MakePathOrDie("spec")},
		},
		Table: kind.Table[*corev1.Namespace]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("Status", "The status of the namespace"),
				kind.AgeColumn(),
			},
			Row: func(ns *corev1.Namespace) []any {
				return []any{ns.Name, string(ns.Status.Phase), kind.Age(ns.CreationTimestamp)}
			},
		},
	}
}

// finalizeRules let the namespace controller take finalizers away.
func finalizeRules() kind.Rules[*corev1.Namespace] {
	return kind.Rules[*corev1.Namespace]{
		PrepareForUpdate: func(_ context.Context, ns, old *corev1.Namespace) { ns.Status = old.Status },
		ValidateUpdate: func(_ context.Context, ns, _ *corev1.Namespace) field.ErrorList {
			return validateFinalizers(ns)
		},
		Reset: []fieldpath.Path{fieldpath.MakePathOrDie("status")},
	}
}

// Default sets the label by which selectors find a namespace.
func Default(ns *corev1.Namespace) {
	if ns.Name == "" {
		return // named after defaulting, by generateName: prepareForCreate does it
	}
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels[corev1.LabelMetadataName] = ns.Name
}

func prepareForCreate(_ context.Context, ns *corev1.Namespace) {
	Default(ns)
	ns.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		ns.Spec.Finalizers = append(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
}

func validateFinalizers(ns *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "finalizers")
	for i, f := range ns.Spec.Finalizers {
		errs = append(errs, validation.ValidateFinalizerName(string(f), path.Index(i))...)
	}
	return errs
}

func validateStatus(_ context.Context, ns, _ *corev1.Namespace) field.ErrorList {
	path := field.NewPath("status", "Phase")
	switch {
	case ns.DeletionTimestamp.IsZero() && ns.Status.Phase != corev1.NamespaceActive:
		return field.ErrorList{field.Invalid(path, ns.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
	case !ns.DeletionTimestamp.IsZero() && ns.Status.Phase != corev1.NamespaceTerminating:
		return field.ErrorList{field.Invalid(path, ns.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
	}
	return nil
}
