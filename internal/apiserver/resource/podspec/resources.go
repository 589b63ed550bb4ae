package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
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

// counted are the standard resources that come in whole numbers.
func counted() sets.Set[corev1.ResourceName] {
	return sets.New(corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers)
}

// measured are those that do not.
func measured() sets.Set[corev1.ResourceName] {
	return sets.New(corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourceStorage,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceRequestsStorage,
		corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage)
}

// standard resources are those that Kubernetes gives a meaning, be it in a pod
// or in a quota.
func standard(name corev1.ResourceName) bool {
	return counted().Has(name) || measured().Has(name) || hugePages(name) || strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

// extended resources come from a domain of their own. Such a name is also one of
// a quota, with "requests." before it.
func extended(name string) bool {
	return !native(name) && !strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+name)) == 0
}

// countable resources come in whole numbers.
func countable(name string) bool { return counted().Has(corev1.ResourceName(name)) || extended(name) }

// validateAnyResourceName agrees with upstream's validateResourceName.
func validateAnyResourceName(name string, path *field.Path) field.ErrorList {
	errs := messages(path, name, validation.IsQualifiedName(name))
	if len(errs) == 0 && !strings.Contains(name, "/") && !standard(corev1.ResourceName(name)) {
		errs = append(errs, field.Invalid(path, name, "must be a standard resource type or fully qualified"))
	}
	return errs
}

// validateResourceName agrees with upstream's validateContainerResourceName.
func validateResourceName(name string, path *field.Path) field.ErrorList {
	errs := validateAnyResourceName(name, path)
	switch {
	case !strings.Contains(name, "/"):
		switch corev1.ResourceName(name) {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		default:
			if !hugePages(corev1.ResourceName(name)) {
				errs = append(errs, field.Invalid(path, name, "must be a standard resource for containers"))
			}
		}
	case !native(name) && !extended(name):
		errs = append(errs, field.Invalid(path, name, "doesn't follow extended resource name standard"))
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

// validatePodResourceName agrees with upstream's: few resources can be asked for
// by the pod as a whole.
func validatePodResourceName(name string, path *field.Path) field.ErrorList {
	errs := validateAnyResourceName(name, path)
	if len(errs) == 0 && !PodLevelResource(corev1.ResourceName(name)) {
		errs = append(errs, field.NotSupported(path, name, []string{"cpu", "hugepages-", "memory"}))
	}
	return errs
}

// validateResources agrees with upstream's ValidateContainerResourceRequirements.
func validateResources(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	return validateRequirements(r, validateResourceName, path)
}

func validateRequirements(r *corev1.ResourceRequirements, valid func(string, *field.Path) field.ErrorList, path *field.Path) field.ErrorList {
	limits, requests := path.Child("limits"), path.Child("requests")
	var errs field.ErrorList
	basic, huge := false, false
	for _, name := range sorted(r.Limits) {
		q, at := r.Limits[name], limits.Key(string(name))
		errs = append(errs, valid(string(name), at)...)
		errs = append(errs, validateQuantity(string(name), q, at)...)
		huge = huge || hugePages(name)
		basic = basic || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	for _, name := range sorted(r.Requests) {
		q, at := r.Requests[name], requests.Key(string(name))
		errs = append(errs, valid(string(name), at)...)
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

// validatePodResources agrees with upstream's: what the pod as a whole requests
// holds what its containers request, and none may use more than all (KEP-2837).
func validatePodResources(spec *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if spec.Resources.Claims != nil {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	errs = append(errs, validateRequirements(spec.Resources, validatePodResourceName, path)...)
	pod := &corev1.Pod{Spec: *spec}
	requests := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range sorted(requests) {
		sum, all := requests[name], spec.Resources.Requests
		if q, ok := all[name]; ok && sum.Cmp(q) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), q.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	limits := resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range sorted(limits) {
		sum := limits[name]
		if q, ok := spec.Resources.Limits[name]; ok && hugePages(name) && sum.Cmp(q) > 0 {
			errs = append(errs, field.Invalid(path.Child("limits").Key(string(name)), q.String(), fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", sum.String())))
		}
	}
	for i := range spec.Containers {
		own := spec.Containers[i].Resources.Limits
		for _, name := range sorted(own) {
			limit := own[name]
			if q, ok := spec.Resources.Limits[name]; ok && limit.Cmp(q) > 0 {
				at := path.Child("containers").Index(i).Key(string(name)).Child("limits")
				errs = append(errs, field.Invalid(at, limit.String(), fmt.Sprintf("must be less than or equal to pod limits of %s", q.String())))
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
		// Upstream reports these by the path of the list.
		errs = append(errs, oneOf(path, p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, oneOf(path, p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)...)
		if never && p.RestartPolicy != corev1.NotRequired {
			errs = append(errs, field.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
		}
	}
	return errs
}
