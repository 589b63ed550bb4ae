package pod

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
	"go.skiff.dev/skiff/internal/apiserver/resource/podspec"
)

// EphemeralRules let ephemeral containers be added to a pod and nothing else:
// pods/NAME/ephemeralcontainers.
func EphemeralRules() kind.Rules[*corev1.Pod] {
	return kind.Rules[*corev1.Pod]{
		PrepareForUpdate: func(_ context.Context, pod, old *corev1.Pod) {
			added := pod.Spec.EphemeralContainers
			version := pod.ResourceVersion
			managed := pod.ManagedFields
			*pod = *old.DeepCopy()
			pod.Spec.EphemeralContainers = added
			pod.ResourceVersion, pod.ManagedFields = version, managed
			bump(pod, old)
		},
		ValidateUpdate: func(_ context.Context, pod, old *corev1.Pod) field.ErrorList {
			return podspec.ValidateEphemeralUpdate(pod, old)
		},
	}
}
