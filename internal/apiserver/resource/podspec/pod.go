package podspec

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidatePod agrees with upstream's ValidatePodCreate.
func ValidatePod(pod *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	errs := validatePodAndSpec(pod, path)
	if len(pod.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if pod.Spec.NodeName != "" && len(pod.Spec.SchedulingGates) != 0 {
		errs = append(errs, field.Forbidden(path.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return errs
}

func validatePodAndSpec(pod *corev1.Pod, path *field.Path) field.ErrorList {
	errs := validateAnnotations(pod, field.NewPath("metadata", "annotations"))
	errs = append(errs, ValidateSpec(&pod.Spec, path)...)
	if pod.Spec.ServiceAccountName == "" {
		for i, v := range pod.Spec.Volumes {
			if v.Projected == nil {
				continue
			}
			for j, source := range v.Projected.Sources {
				if source.ServiceAccountToken != nil {
					at := path.Child("volumes").Index(i).Child("projected").Child("sources").Index(j).Child("serviceAccountToken")
					errs = append(errs, field.Forbidden(at, "must not be specified when serviceAccountName is not set"))
				}
			}
		}
	}
	return errs
}

// updatable are the fields of a pod's spec that an update may change.
func updatable() string {
	return strings.Join([]string{
		"`spec.containers[*].image`",
		"`spec.initContainers[*].image`",
		"`spec.activeDeadlineSeconds`",
		"`spec.tolerations` (only additions to existing tolerations)",
		"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
	}, ",")
}

// ValidatePodUpdate agrees with upstream's ValidatePodUpdate.
func ValidatePodUpdate(pod, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	errs := validatePodAndSpec(pod, path)
	errs = append(errs, validateAnnotationsUpdate(pod, old, field.NewPath("metadata", "annotations"))...)
	more, stop := validateImages(pod.Spec.Containers, old.Spec.Containers, path.Child("containers"))
	errs = append(errs, more...)
	if stop {
		return errs
	}
	more, stop = validateImages(pod.Spec.InitContainers, old.Spec.InitContainers, path.Child("initContainers"))
	errs = append(errs, more...)
	if stop {
		return errs
	}
	more, stop = validateDeadline(pod, old, path.Child("activeDeadlineSeconds"))
	errs = append(errs, more...)
	if stop {
		return errs
	}
	errs = append(errs, validateMoreTolerations(pod.Spec.Tolerations, old.Spec.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateFewerGates(pod, old, path.Child("schedulingGates"))...)
	was := allowed(pod, old)
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, narrowed(pod, old, was, path)...)
	}
	if !equality.Semantic.DeepEqual(*was, old.Spec) {
		errs = append(errs, field.Forbidden(path, fmt.Sprintf("pod updates may not change fields other than %s\n%v", updatable(), diff.Diff(old.Spec, *was))))
	}
	return errs
}

// allowed is the new spec with all that may change put back as it was.
func allowed(pod, old *corev1.Pod) *corev1.PodSpec {
	was := pod.Spec.DeepCopy()
	for i := range was.Containers {
		was.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range was.InitContainers {
		was.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	was.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	was.SchedulingGates = old.Spec.SchedulingGates
	was.Tolerations = old.Spec.Tolerations
	if s := old.Spec.TerminationGracePeriodSeconds; s != nil && *s < 0 && was.TerminationGracePeriodSeconds != nil && *was.TerminationGracePeriodSeconds == 1 {
		was.TerminationGracePeriodSeconds = s
	}
	return was
}

// narrowed: where a pod may go can be narrowed while it is gated (KEP-3838).
func narrowed(pod, old *corev1.Pod, was *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("nodeSelector")
	for _, key := range sorted(old.Spec.NodeSelector) {
		if value, ok := pod.Spec.NodeSelector[key]; !ok || value != old.Spec.NodeSelector[key] {
			errs = append(errs, field.Invalid(at, pod.Spec.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)"))
			break
		}
	}
	was.NodeSelector = old.Spec.NodeSelector
	var now, before *corev1.NodeAffinity
	if pod.Spec.Affinity != nil {
		now = pod.Spec.Affinity.NodeAffinity
	}
	if old.Spec.Affinity != nil {
		before = old.Spec.Affinity.NodeAffinity
	}
	if equality.Semantic.DeepEqual(before, now) {
		return errs
	}
	errs = append(errs, narrowedTerms(now, before, path.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"))...)
	switch {
	case was.Affinity == nil:
		was.Affinity = &corev1.Affinity{NodeAffinity: before}
	case old.Spec.Affinity == nil && was.Affinity.PodAffinity == nil && was.Affinity.PodAntiAffinity == nil:
		was.Affinity = nil
	default:
		was.Affinity.NodeAffinity = before
	}
	return errs
}

// narrowedTerms: terms are alternatives, so none may come; what a term demands
// is all needed, so that more may.
func narrowedTerms(now, before *corev1.NodeAffinity, path *field.Path) field.ErrorList {
	terms := func(a *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
		if a == nil || a.RequiredDuringSchedulingIgnoredDuringExecution == nil {
			return nil
		}
		return a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	was, is := terms(before), terms(now)
	if len(was) > 0 && len(was) != len(is) {
		return field.ErrorList{field.Invalid(path, is, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	more := func(is, was []corev1.NodeSelectorRequirement) bool {
		return len(is) >= len(was) && equality.Semantic.DeepEqual(is[:len(was)], was)
	}
	var errs field.ErrorList
	for i := range was {
		// A term that demands nothing matches nothing: it cannot be narrowed.
		none := len(was[i].MatchExpressions)+len(was[i].MatchFields) == 0 && len(is[i].MatchExpressions)+len(is[i].MatchFields) > 0
		if none || !more(is[i].MatchExpressions, was[i].MatchExpressions) || !more(is[i].MatchFields, was[i].MatchFields) {
			errs = append(errs, field.Invalid(path.Index(i), is[i], "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

// validateImages agrees with upstream's ValidateContainerUpdates.
func validateImages(containers, old []corev1.Container, path *field.Path) (field.ErrorList, bool) {
	if len(containers) != len(old) {
		return field.ErrorList{field.Forbidden(path, "pod updates may not add or remove containers")}, true
	}
	return nil, false // ValidateSpec has seen the images
}

// validateDeadline: a deadline may come nearer. stop says that nothing else is
// looked at.
func validateDeadline(pod, old *corev1.Pod, path *field.Path) (errs field.ErrorList, stop bool) {
	now, was := pod.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds
	switch {
	case now == nil && was != nil:
		return field.ErrorList{field.Invalid(path, now, "must not update from a positive integer to nil value")}, false
	case now == nil:
		return nil, false
	case *now < 0 || *now > math.MaxInt32:
		return field.ErrorList{field.Invalid(path, *now, validation.InclusiveRangeError(0, math.MaxInt32))}, true
	case was != nil && *was < *now:
		return field.ErrorList{field.Invalid(path, *now, "must be less than or equal to previous value")}, true
	}
	return nil, false
}

func validateFewerGates(pod, old *corev1.Pod, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, gate := range pod.Spec.SchedulingGates {
		if !slices.Contains(old.Spec.SchedulingGates, gate) {
			errs = append(errs, field.Forbidden(path.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", gate.Name)))
		}
	}
	return errs
}

// validateMoreTolerations agrees with upstream's ValidateOnlyAddedTolerations
// family: what is tolerated stays so, the seconds may change.
func validateMoreTolerations(tolerations, old []corev1.Toleration, path *field.Path) field.ErrorList {
	for _, was := range old {
		was.TolerationSeconds = nil
		if !slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool {
			t.TolerationSeconds = nil
			return t == was
		}) {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

// ValidateEphemeralUpdate agrees with upstream's
// ValidatePodEphemeralContainersUpdate.
func ValidateEphemeralUpdate(pod, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec").Child("ephemeralContainers")
	errs := ValidateSpec(&pod.Spec, field.NewPath("spec"))
	now := map[string]*corev1.EphemeralContainer{}
	for i := range pod.Spec.EphemeralContainers {
		now[pod.Spec.EphemeralContainers[i].Name] = &pod.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		was := &old.Spec.EphemeralContainers[i]
		switch c, ok := now[was.Name]; {
		case !ok:
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
		case !equality.Semantic.DeepEqual(c, was):
			errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diff.Diff(was, c))))
		}
	}
	return errs
}
