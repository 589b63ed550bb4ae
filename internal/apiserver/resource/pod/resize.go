package pod

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
	"go.skiff.dev/skiff/internal/apiserver/resource/podspec"
)

// ResizeRules let the resources of containers, and of the pod as a whole, be
// changed while the pod runs and nothing else: pods/NAME/resize (KEP-1287).
func ResizeRules() kind.Rules[*corev1.Pod] {
	return kind.Rules[*corev1.Pod]{
		PrepareForUpdate: func(_ context.Context, pod, old *corev1.Pod) {
			want := pod.DeepCopy()
			*pod = *old.DeepCopy()
			pod.ResourceVersion, pod.ManagedFields = want.ResourceVersion, want.ManagedFields
			pod.Spec.Resources = want.Spec.Resources
			pod.Spec.Containers = takeResources(pod.Spec.Containers, want.Spec.Containers)
			pod.Spec.InitContainers = takeResources(pod.Spec.InitContainers, want.Spec.InitContainers)
			bump(pod, old)
		},
		ValidateUpdate: func(_ context.Context, pod, old *corev1.Pod) field.ErrorList {
			return podspec.ValidateResize(pod, old)
		},
	}
}

// takeResources copies what a resize may change. Other containers, or others in
// that place, are left for the validation to refuse.
func takeResources(old, want []corev1.Container) []corev1.Container {
	if !slices.EqualFunc(old, want, func(a, b corev1.Container) bool { return a.Name == b.Name }) {
		return want
	}
	for i := range old {
		old[i].Resources, old[i].ResizePolicy = want[i].Resources, want[i].ResizePolicy
	}
	return old
}
