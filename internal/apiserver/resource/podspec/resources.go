package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func hugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// native resources are Kubernetes' own; others are extended by a domain.
func native(name string) bool {
	return !strings.Contains(name, "/") || strings.Contains(name, corev1.ResourceDefaultNamespacePrefix)
}

// overcommittable resources may be limited above what is requested.
func overcommittable(name corev1.ResourceName) bool { return native(string(name)) && !hugePages(name) }

// countable resources come in whole numbers.
func countable(name string) bool { return !native(name) || name == string(corev1.ResourcePods) }

// validateResourceName agrees with upstream's ValidateContainerResourceName.
func validateResourceName(name string, path *field.Path) field.ErrorList {
	errs := messages(path, name, validation.IsQualifiedName(name))
	if len(errs) > 0 {
		return errs
	}
	switch {
	case !strings.Contains(name, "/"):
		switch corev1.ResourceName(name) {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		default:
			if !hugePages(corev1.ResourceName(name)) {
				errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
			}
		}
	case !native(name):
		// An extended resource is also the name of a quota, "requests." before it.
		if strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) ||
			len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+name)) != 0 {
			errs = append(errs, field.Invalid(path, name, "doesn't follow extended resource name standard"))
		}
	}
	return errs
}

// validateQuantity agrees with upstream's ValidateResourceQuantityValue.
func validateQuantity(name string, q resource.Quantity, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(path, q.String(), "must be greater than or equal to 0"))
	}
	if countable(name) && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(path, q.String(), "must be an integer"))
	}
	return errs
}

// validateResources agrees with upstream's ValidateResourceRequirements.
func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	limits, requests := path.Child("limits"), path.Child("requests")
	var errs field.ErrorList
	basic, huge := false, false
	for _, name := range sorted(r.Limits) {
		q, at := r.Limits[name], limits.Key(string(name))
		errs = append(errs, validateResourceName(string(name), at)...)
		errs = append(errs, validateQuantity(string(name), q, at)...)
		huge = huge || hugePages(name)
		basic = basic || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	for _, name := range sorted(r.Requests) {
		q, at := r.Requests[name], requests.Key(string(name))
		errs = append(errs, validateResourceName(string(name), at)...)
		errs = append(errs, validateQuantity(string(name), q, at)...)
		limit, limited := r.Limits[name]
		switch {
		case limited && q.Cmp(limit) != 0 && !overcommittable(name):
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && q.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		case !limited && !overcommittable(name):
			errs = append(errs, field.Required(limits, "Limit must be set for non overcommitable resources"))
		}
		huge = huge || hugePages(name)
		basic = basic || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	if huge && !basic {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return errs
}

// validatePodResources checks what the pod as a whole requests (KEP-2837).
func validatePodResources(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := validateResources(spec.Resources, path)
	for _, list := range []struct {
		name string
		of   corev1.ResourceList
	}{{"limits", spec.Resources.Limits}, {"requests", spec.Resources.Requests}} {
		for _, name := range sorted(list.of) {
			if !PodLevelResource(name) {
				errs = append(errs, field.NotSupported(path.Child(list.name), name, []string{"cpu", "hugepages-", "memory"}))
			}
		}
	}
	return errs
}

func validateResizePolicy(policies []corev1.ContainerResizePolicy, never bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[corev1.ResourceName]bool{}
	for i, p := range policies {
		at := path.Index(i)
		if seen[p.ResourceName] {
			errs = append(errs, field.Duplicate(at, p.ResourceName))
		}
		seen[p.ResourceName] = true
		errs = append(errs, oneOf(at.Child("resourceName"), p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, oneOf(at.Child("restartPolicy"), p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)...)
		if never && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
	}
	return errs
}
