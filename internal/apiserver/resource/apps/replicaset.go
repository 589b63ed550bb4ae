package apps

import (
	"context"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"strconv"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// ReplicaSet describes the kind.
func ReplicaSet() kind.Kind[*appsv1.ReplicaSet] {
	return kind.Kind[*appsv1.ReplicaSet]{
		Resource:   schema.GroupResource{Group: appsv1.GroupName, Resource: "replicasets"},
		Version:    "v1",
		Singular:   "replicaset",
		ShortNames: []string{"rs"},
		Categories: []string{"all"},
		Namespaced: true,
		New:        func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} },
		NewList:    func() runtime.Object { return &appsv1.ReplicaSetList{} },
		Fields: func(rs *appsv1.ReplicaSet) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(rs.Status.Replicas))}
		},
		Rules: kind.Rules[*appsv1.ReplicaSet]{
			PrepareForCreate: func(_ context.Context, rs *appsv1.ReplicaSet) {
				rs.Status = appsv1.ReplicaSetStatus{}
				rs.Generation = 1
			},
			PrepareForUpdate: func(_ context.Context, rs, old *appsv1.ReplicaSet) {
				rs.Status = old.Status
				if !equality.Semantic.DeepEqual(rs.Spec, old.Spec) {
					rs.Generation = old.Generation + 1
				}
			},
			Validate:       validateReplicaSet,
			ValidateUpdate: validateReplicaSetUpdate,
			Warn: func(_ context.Context, rs, old *appsv1.ReplicaSet) []string {
				return templateWarnings(rs, old == nil, old != nil && old.Generation == rs.Generation, &rs.Spec.Template)
			},
			Reset: []fieldpath.Path{fieldpath.MakePathOrDie("status")},
		},
		Status: &kind.Rules[*appsv1.ReplicaSet]{
			PrepareForUpdate: func(_ context.Context, rs, old *appsv1.ReplicaSet) { rs.Spec = old.Spec },
			ValidateUpdate:   validateReplicaSetStatus,
			Reset:            []fieldpath.Path{fieldpath.MakePathOrDie("spec")},
		},
		Table: kind.Table[*appsv1.ReplicaSet]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.Integer(kind.Column("Desired", appsv1.ReplicaSetSpec{}.SwaggerDoc()["replicas"])),
				kind.Integer(kind.Column("Current", appsv1.ReplicaSetStatus{}.SwaggerDoc()["replicas"])),
				kind.Integer(kind.Column("Ready", appsv1.ReplicaSetStatus{}.SwaggerDoc()["readyReplicas"])),
				kind.AgeColumn(),
				kind.Wide(kind.Column("Containers", "Names of each container in the template.")),
				kind.Wide(kind.Column("Images", "Images referenced by each container in the template.")),
				kind.Wide(kind.Column("Selector", appsv1.ReplicaSetSpec{}.SwaggerDoc()["selector"])),
			},
			Row: func(rs *appsv1.ReplicaSet) []any {
				names, images := containers(rs.Spec.Template.Spec.Containers)
				return []any{
					rs.Name, int64(replicas(rs.Spec.Replicas)), int64(rs.Status.Replicas), int64(rs.Status.ReadyReplicas),
					kind.Age(rs.CreationTimestamp), names, images, metav1.FormatLabelSelector(rs.Spec.Selector),
				}
			},
		},
	}
}

// DefaultReplicaSet sets what a manifest may leave out, besides the template's
// own defaults.
func DefaultReplicaSet(rs *appsv1.ReplicaSet) {
	if rs.Spec.Replicas == nil {
		rs.Spec.Replicas = one()
	}
}

func one() *int32 {
	n := int32(1)
	return &n
}

func replicas(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

// containers are the names and the images of a template, for wide tables.
func containers(list []corev1.Container) (names, images string) {
	var n, i []string
	for _, c := range list {
		n = append(n, c.Name)
		i = append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}
