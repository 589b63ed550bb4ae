package serviceaccount

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// Kind describes ServiceAccount.
func Kind() kind.Kind[*corev1.ServiceAccount] {
	return kind.Kind[*corev1.ServiceAccount]{
		Resource:   schema.GroupResource{Resource: "serviceaccounts"},
		Version:    "v1",
		Singular:   "serviceaccount",
		ShortNames: []string{"sa"},
		Namespaced: true,
		New:        func() *corev1.ServiceAccount { return &corev1.ServiceAccount{} },
		NewList:    func() runtime.Object { return &corev1.ServiceAccountList{} },
		Rules: kind.Rules[*corev1.ServiceAccount]{
			PrepareForCreate: func(_ context.Context, sa *corev1.ServiceAccount) { keepNamesOnly(sa) },
			PrepareForUpdate: func(_ context.Context, sa, _ *corev1.ServiceAccount) { keepNamesOnly(sa) },
		},
		Table: kind.Table[*corev1.ServiceAccount]{
			Columns: []metav1.TableColumnDefinition{
				kind.NameColumn(),
				kind.AgeColumn(),
			},
			Row: func(sa *corev1.ServiceAccount) []any {
				return []any{sa.Name, kind.Age(sa.CreationTimestamp)}
			},
		},
	}
}

// keepNamesOnly: secrets are referred to by name, in the account's namespace.
func keepNamesOnly(sa *corev1.ServiceAccount) {
	for i, ref := range sa.Secrets {
		sa.Secrets[i] = corev1.ObjectReference{Name: ref.Name}
	}
}
