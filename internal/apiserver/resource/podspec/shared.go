package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What kinds without a pod template have in common with pods.

// ValidateLimits looks at a list of resources as at a container's limits.
func ValidateLimits(limits corev1.ResourceList, path *field.Path) field.ErrorList {
	return validateResources(&corev1.ResourceRequirements{Limits: limits}, path)
}

// ValidateTolerations looks at tolerations as at a pod's.
func ValidateTolerations(tolerations []corev1.Toleration, path *field.Path) field.ErrorList {
	return validateTolerations(tolerations, path)
}
