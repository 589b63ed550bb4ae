package podspec

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateAnnotations agrees with upstream's ValidatePodSpecificAnnotations:
// annotations that mean something for a pod hold what can be meant.
func validateAnnotations(pod *corev1.Pod, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if value, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]; ok && pod.Spec.NodeName == "" {
		errs = append(errs, field.Invalid(path.Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set"))
	}
	if cost, ok := pod.Annotations[corev1.PodDeletionCost]; ok {
		// The number as it is written, and no other way to write it.
		if n, err := strconv.ParseInt(cost, 10, 32); err != nil || strconv.FormatInt(n, 10) != cost && cost != "-0" {
			errs = append(errs, field.Invalid(path.Key(corev1.PodDeletionCost), cost, "must be a 32bit integer"))
		}
	}
	for _, key := range sorted(pod.Annotations) {
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) {
			errs = append(errs, validateAppArmorAnnotation(pod, key, path)...)
		}
	}
	return errs
}

func validateAppArmorAnnotation(pod *corev1.Pod, key string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	name, found := strings.TrimPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix), false
	eachContainer(&pod.Spec, nil, func(c *corev1.Container, _ *field.Path) { found = found || c.Name == name })
	if !found {
		errs = append(errs, field.Invalid(path.Key(key), name, "container not found"))
	}
	switch profile := pod.Annotations[key]; {
	case profile == "", profile == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault, profile == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
	case !strings.HasPrefix(profile, corev1.DeprecatedAppArmorBetaProfileNamePrefix):
		errs = append(errs, field.Invalid(path.Key(key), profile, fmt.Sprintf("invalid AppArmor profile name: %q", profile)))
	}
	return errs
}

// validateAnnotationsUpdate agrees with upstream's
// ValidatePodSpecificAnnotationUpdates: what the node has acted upon stays.
func validateAnnotationsUpdate(pod, old *corev1.Pod, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	refuse := func(key, what string) {
		switch {
		case strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix):
			errs = append(errs, field.Forbidden(path.Key(key), "may not "+what+" AppArmor annotations"))
		case key == corev1.MirrorPodAnnotationKey:
			errs = append(errs, field.Forbidden(path.Key(key), "may not "+what+" mirror pod annotation"))
		}
	}
	for _, key := range sorted(old.Annotations) {
		if value, ok := pod.Annotations[key]; !ok || value != old.Annotations[key] {
			refuse(key, "remove or update")
		}
	}
	for _, key := range sorted(pod.Annotations) {
		if _, ok := old.Annotations[key]; !ok {
			refuse(key, "add")
		}
	}
	return errs
}
