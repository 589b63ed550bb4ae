package node

import (
	"context"

	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
	"go.skiff.dev/skiff/internal/apiserver/resource/podspec"
)

// RuntimeClass describes the kind: a name for what runs a pod's containers on
// the nodes, with what that costs and where it is.
func RuntimeClass() kind.Kind[*nodev1.RuntimeClass] {
	return kind.Kind[*nodev1.RuntimeClass]{
		Resource: schema.GroupResource{Group: nodev1.GroupName, Resource: "runtimeclasses"},
		Version:  "v1",
		Singular: "runtimeclass",
		New:      func() *nodev1.RuntimeClass { return &nodev1.RuntimeClass{} },
		NewList:  func() runtime.Object { return &nodev1.RuntimeClassList{} },
		Trigger:  "metadata.name",
		Rules: kind.Rules[*nodev1.RuntimeClass]{
			RequireVersion: true,
			Validate:       func(_ context.Context, c *nodev1.RuntimeClass) field.ErrorList { return validateClass(c) },
			ValidateUpdate: func(_ context.Context, c, old *nodev1.RuntimeClass) field.ErrorList {
				return append(validateClass(c), apivalidation.ValidateImmutableField(c.Handler, old.Handler, field.NewPath("handler"))...)
			},
		},
		Table: kind.Table[*nodev1.RuntimeClass]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("Handler", nodev1.RuntimeClass{}.SwaggerDoc()["handler"]),
				kind.AgeColumn(),
			},
			Row: func(c *nodev1.RuntimeClass) []any { return []any{c.Name, c.Handler, kind.Age(c.CreationTimestamp)} },
		},
	}
}

// DefaultClass keeps the overhead as precisely as the pods that get it.
func DefaultClass(c *nodev1.RuntimeClass) {
	if c.Overhead != nil {
		podspec.RoundUp(c.Overhead.PodFixed)
	}
}

// validateClass agrees with upstream's ValidateRuntimeClass.
func validateClass(c *nodev1.RuntimeClass) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range apivalidation.NameIsDNSLabel(c.Handler, false) {
		errs = append(errs, field.Invalid(field.NewPath("handler"), c.Handler, msg))
	}
	if c.Overhead != nil {
		errs = append(errs, podspec.ValidateLimits(c.Overhead.PodFixed, field.NewPath("overhead"))...)
	}
	if c.Scheduling != nil {
		at := field.NewPath("scheduling")
		errs = append(errs, metavalidation.ValidateLabels(c.Scheduling.NodeSelector, at.Child("nodeSelector"))...)
		errs = append(errs, podspec.ValidateTolerations(c.Scheduling.Tolerations, at.Child("tolerations"))...)
	}
	return errs
}
