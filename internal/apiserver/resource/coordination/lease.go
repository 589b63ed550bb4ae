// Package coordination is the Lease kind.
package coordination

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Lease describes the kind.
func Lease() kind.Kind[*coordinationv1.Lease] {
	return kind.Kind[*coordinationv1.Lease]{
		Resource:   schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"},
		Version:    "v1",
		Singular:   "lease",
		Namespaced: true,
		New:        func() *coordinationv1.Lease { return &coordinationv1.Lease{} },
		NewList:    func() runtime.Object { return &coordinationv1.LeaseList{} },
		Trigger:    "metadata.name",
		Rules: kind.Rules[*coordinationv1.Lease]{
			// Coordinated leader election (KEP-4355) is not served: what asks for it
			// is dropped, as upstream does while it is off.
			PrepareForCreate: func(_ context.Context, l *coordinationv1.Lease) {
				l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil
			},
			PrepareForUpdate: func(_ context.Context, l, _ *coordinationv1.Lease) {
				l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil
			},
			CreateOnUpdate: true,
			RequireVersion: true,
			Validate: func(_ context.Context, l *coordinationv1.Lease) field.ErrorList {
				return validate(&l.Spec, field.NewPath("spec"))
			},
		},
		Table: kind.Table[*coordinationv1.Lease]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Column("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"]),
				kind.AgeColumn(),
			},
			Row: func(l *coordinationv1.Lease) []any {
				holder := ""
				if l.Spec.HolderIdentity != nil {
					holder = *l.Spec.HolderIdentity
				}
				return []any{l.Name, holder, kind.Age(l.CreationTimestamp)}
			},
		},
	}
}

// validate agrees with upstream's ValidateLeaseSpec.
func validate(spec *coordinationv1.LeaseSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if d := spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if n := spec.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(path.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	return errs
}
