package apps

import (
	"context"
	"math"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"go.skiff.dev/skiff/internal/apiserver/resource/podspec"
)

func nonnegative(value int32, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(value), path)
}

// validateDeployment agrees with upstream's ValidateDeployment.
func validateDeployment(_ context.Context, d *appsv1.Deployment) field.ErrorList {
	return validateDeploymentSpec(&d.Spec, nil, field.NewPath("spec"))
}

func validateDeploymentUpdate(_ context.Context, d, old *appsv1.Deployment) field.ErrorList {
	errs := validateDeploymentSpec(&d.Spec, &old.Spec, field.NewPath("spec"))
	return append(errs, apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec").Child("selector"))...)
}

func validateDeploymentSpec(spec, old *appsv1.DeploymentSpec, path *field.Path) field.ErrorList {
	errs := nonnegative(replicas(spec.Replicas), path.Child("replicas"))
	selector, more := validateSelector(spec.Selector, path)
	errs = append(errs, more...)
	if selector != nil {
		var was *corev1.PodTemplateSpec
		if old != nil {
			was = &old.Template
		}
		errs = append(errs, validateTemplate(&spec.Template, was, selector, path.Child("template"))...)
	}
	errs = append(errs, validateStrategy(&spec.Strategy, path.Child("strategy"))...)
	errs = append(errs, nonnegative(spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	if spec.RevisionHistoryLimit != nil {
		errs = append(errs, nonnegative(*spec.RevisionHistoryLimit, path.Child("revisionHistoryLimit"))...)
	}
	if d := spec.ProgressDeadlineSeconds; d != nil {
		errs = append(errs, nonnegative(*d, path.Child("progressDeadlineSeconds"))...)
		if *d <= spec.MinReadySeconds {
			errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), *d, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

// validateSelector demands a selector that selects something; it returns nil
// for one that cannot be used, and for none one that matches nothing.
func validateSelector(s *metav1.LabelSelector, path *field.Path) (labels.Selector, field.ErrorList) {
	at := path.Child("selector")
	if s == nil {
		return labels.Nothing(), field.ErrorList{field.Required(at, "")}
	}
	errs := metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(at, s, "empty selector is invalid for deployment"))
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, append(errs, field.Invalid(at, s, "invalid label selector"))
	}
	return selector, errs
}

// validateTemplate agrees with upstream's ValidatePodTemplateSpecForReplicaSet,
// with the restart policy that a workload that never ends must have.
func validateTemplate(t, old *corev1.PodTemplateSpec, selector labels.Selector, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(path.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, podspec.ValidateTemplate(t, old, path)...)
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported"))
	}
	return errs
}

func validateStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is '"+string(s.Type)+"'")}
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		return validateRolling(s.RollingUpdate, path.Child("rollingUpdate"))
	default:
		valid := []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType}
		return field.ErrorList{field.NotSupported(path, s.Type, valid)} // upstream's path
	}
	return nil
}

func validateRolling(r *appsv1.RollingUpdateDeployment, path *field.Path) field.ErrorList {
	errs := ValidateCountOrPercent(*r.MaxUnavailable, path.Child("maxUnavailable"))
	errs = append(errs, ValidateCountOrPercent(*r.MaxSurge, path.Child("maxSurge"))...)
	if amount(*r.MaxUnavailable) == 0 && amount(*r.MaxSurge) == 0 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), *r.MaxUnavailable, "may not be 0 when `maxSurge` is 0"))
	}
	if percent, ok := percentage(*r.MaxUnavailable); ok && percent > 100 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), *r.MaxUnavailable, "must not be greater than 100%"))
	}
	return errs
}

// ValidateCountOrPercent agrees with upstream's ValidatePositiveIntOrPercent.
func ValidateCountOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch v.Type {
	case intstr.String:
		for _, msg := range validation.IsValidPercent(v.StrVal) {
			errs = append(errs, field.Invalid(path, v, msg))
		}
	case intstr.Int:
		errs = apivalidation.ValidateNonnegativeField(int64(v.IntValue()), path)
	default:
		errs = append(errs, field.Invalid(path, v, "must be an integer or percentage (e.g '5%%')"))
	}
	return errs
}

func percentage(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) != 0 {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	if err != nil {
		return math.MaxInt32, true
	}
	return n, true
}

// amount is the number or the percentage itself: zero tells whether it is none.
func amount(v intstr.IntOrString) int {
	if percent, ok := percentage(v); ok {
		return percent
	}
	return v.IntValue()
}

// validateDeploymentStatus agrees with upstream's ValidateDeploymentStatusUpdate.
func validateDeploymentStatus(_ context.Context, d, old *appsv1.Deployment) field.ErrorList {
	path := field.NewPath("status")
	s := &d.Status
	var errs field.ErrorList
	errs = append(errs, apivalidation.ValidateNonnegativeField(s.ObservedGeneration, path.Child("observedGeneration"))...)
	errs = append(errs, nonnegative(s.Replicas, path.Child("replicas"))...)
	errs = append(errs, nonnegative(s.UpdatedReplicas, path.Child("updatedReplicas"))...)
	errs = append(errs, nonnegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, nonnegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, nonnegative(s.UnavailableReplicas, path.Child("unavailableReplicas"))...)
	if s.TerminatingReplicas != nil {
		errs = append(errs, nonnegative(*s.TerminatingReplicas, path.Child("terminatingReplicas"))...)
	}
	if s.CollisionCount != nil {
		errs = append(errs, nonnegative(*s.CollisionCount, path.Child("collisionCount"))...)
		if was := old.Status.CollisionCount; was != nil && *s.CollisionCount < *was {
			errs = append(errs, field.Invalid(path.Child("collisionCount"), *s.CollisionCount, "cannot be decremented"))
		}
	}
	return append(errs, validateCounts(s.Replicas, path,
		count{"updatedReplicas", s.UpdatedReplicas}, count{"readyReplicas", s.ReadyReplicas}, count{"availableReplicas", s.AvailableReplicas})...)
}

type count struct {
	name  string
	value int32
}

// validateCounts: no part is greater than the whole.
func validateCounts(total int32, path *field.Path, parts ...count) field.ErrorList {
	const msg = "cannot be greater than status.replicas"
	var errs field.ErrorList
	for _, p := range parts {
		if p.value > total {
			errs = append(errs, field.Invalid(path.Child(p.name), p.value, msg))
		}
	}
	ready, available := parts[len(parts)-2], parts[len(parts)-1]
	if available.value > ready.value {
		errs = append(errs, field.Invalid(path.Child(available.name), available.value, "cannot be greater than readyReplicas"))
	}
	return errs
}

// validateReplicaSet agrees with upstream's ValidateReplicaSet.
func validateReplicaSet(_ context.Context, rs *appsv1.ReplicaSet) field.ErrorList {
	return validateReplicaSetSpec(&rs.Spec, nil, field.NewPath("spec"))
}

func validateReplicaSetUpdate(_ context.Context, rs, old *appsv1.ReplicaSet) field.ErrorList {
	errs := validateReplicaSetSpec(&rs.Spec, &old.Spec, field.NewPath("spec"))
	return append(errs, apivalidation.ValidateImmutableField(rs.Spec.Selector, old.Spec.Selector, field.NewPath("spec").Child("selector"))...)
}

func validateReplicaSetSpec(spec, old *appsv1.ReplicaSetSpec, path *field.Path) field.ErrorList {
	errs := nonnegative(replicas(spec.Replicas), path.Child("replicas"))
	errs = append(errs, nonnegative(spec.MinReadySeconds, path.Child("minReadySeconds"))...)
	selector, more := validateSelector(spec.Selector, path)
	errs = append(errs, more...)
	if selector != nil {
		var was *corev1.PodTemplateSpec
		if old != nil {
			was = &old.Template
		}
		errs = append(errs, validateTemplate(&spec.Template, was, selector, path.Child("template"))...)
	}
	return errs
}

// validateReplicaSetStatus agrees with upstream's ValidateReplicaSetStatus.
func validateReplicaSetStatus(_ context.Context, rs, _ *appsv1.ReplicaSet) field.ErrorList {
	path := field.NewPath("status")
	s := &rs.Status
	errs := nonnegative(s.Replicas, path.Child("replicas"))
	errs = append(errs, nonnegative(s.FullyLabeledReplicas, path.Child("fullyLabeledReplicas"))...)
	errs = append(errs, nonnegative(s.ReadyReplicas, path.Child("readyReplicas"))...)
	errs = append(errs, nonnegative(s.AvailableReplicas, path.Child("availableReplicas"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(s.ObservedGeneration, path.Child("observedGeneration"))...)
	if s.TerminatingReplicas != nil {
		errs = append(errs, nonnegative(*s.TerminatingReplicas, path.Child("terminatingReplicas"))...)
	}
	return append(errs, validateCounts(s.Replicas, path,
		count{"fullyLabeledReplicas", s.FullyLabeledReplicas}, count{"readyReplicas", s.ReadyReplicas}, count{"availableReplicas", s.AvailableReplicas})...)
}
