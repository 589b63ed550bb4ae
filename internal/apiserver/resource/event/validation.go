package event

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

const (
	maxReporter = 128
	maxAction   = 128
	maxReason   = 128
	maxNote     = 1024
)

func lower(s string) string { return strings.ToLower(s) }
func trim(s string) string  { return strings.TrimSpace(s) }

// viaCore tells whether the request came through the core group, whose events
// are held to the older, looser rules.
func viaCore(ctx context.Context) bool {
	info, ok := genericapirequest.RequestInfoFrom(ctx)
	return !ok || schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion} != eventsv1.SchemeGroupVersion
}

// validate agrees with upstream's ValidateEventCreate.
func validate(ctx context.Context, e *corev1.Event) field.ErrorList {
	core := viaCore(ctx)
	errs := validateLegacy(e, core)
	if core {
		return errs
	}
	return append(errs, validateStrict(e)...)
}

// validateLegacy agrees with upstream's legacyValidateEvent.
func validateLegacy(e *corev1.Event, core bool) field.ErrorList {
	var errs field.ErrorList
	reporter := "reportingController"
	if core {
		reporter = "reportingComponent"
	}
	if e.EventTime.Time.IsZero() {
		errs = append(errs, validateNamespace(e)...)
	} else {
		if e.InvolvedObject.Namespace == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
			errs = append(errs, field.Invalid(field.NewPath("involvedObject", "namespace"), e.InvolvedObject.Namespace, "does not match event.namespace"))
		}
		errs = append(errs, validateReporter(e, reporter)...)
	}
	for _, msg := range validation.IsDNS1123Subdomain(e.Namespace) {
		errs = append(errs, field.Invalid(field.NewPath("namespace"), e.Namespace, msg))
	}
	return errs
}

func validateNamespace(e *corev1.Event) field.ErrorList {
	path := field.NewPath("involvedObject", "namespace")
	if e.InvolvedObject.Namespace == metav1.NamespaceNone {
		if e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
			return field.ErrorList{field.Invalid(path, e.InvolvedObject.Namespace, "does not match event.namespace")}
		}
		return nil
	}
	if e.Namespace != e.InvolvedObject.Namespace {
		return field.ErrorList{field.Invalid(path, e.InvolvedObject.Namespace, "does not match event.namespace")}
	}
	return nil
}

func validateReporter(e *corev1.Event, reporter string) field.ErrorList {
	var errs field.ErrorList
	if e.ReportingController == "" {
		errs = append(errs, field.Required(field.NewPath(reporter), ""))
	}
	for _, msg := range validation.IsQualifiedName(e.ReportingController) {
		errs = append(errs, field.Invalid(field.NewPath(reporter), e.ReportingController, msg))
	}
	errs = append(errs, requireShort(field.NewPath("reportingInstance"), e.ReportingInstance, maxReporter)...)
	errs = append(errs, requireShort(field.NewPath("action"), e.Action, maxAction)...)
	errs = append(errs, requireShort(field.NewPath("reason"), e.Reason, maxReason)...)
	if len(e.Message) > maxNote {
		errs = append(errs, field.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", maxNote)))
	}
	return errs
}

func requireShort(path *field.Path, value string, limit int) field.ErrorList {
	var errs field.ErrorList
	if value == "" {
		errs = append(errs, field.Required(path, ""))
	}
	if len(value) > limit {
		errs = append(errs, field.Invalid(path, "", fmt.Sprintf("can have at most %v characters", limit)))
	}
	return errs
}

// validateStrict is what events.k8s.io/v1 demands of new events.
func validateStrict(e *corev1.Event) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validateSeries(e)...)
	if e.EventTime.Time.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", "has invalid value: "+e.Type))
	}
	if !e.FirstTimestamp.Time.IsZero() {
		errs = append(errs, field.Invalid(field.NewPath("firstTimestamp"), "", "needs to be unset"))
	}
	if !e.LastTimestamp.Time.IsZero() {
		errs = append(errs, field.Invalid(field.NewPath("lastTimestamp"), "", "needs to be unset"))
	}
	if e.Count != 0 {
		errs = append(errs, field.Invalid(field.NewPath("count"), "", "needs to be unset"))
	}
	if e.Source.Component != "" || e.Source.Host != "" {
		errs = append(errs, field.Invalid(field.NewPath("source"), "", "needs to be unset"))
	}
	return errs
}

func validateSeries(e *corev1.Event) field.ErrorList {
	if e.Series == nil {
		return nil
	}
	var errs field.ErrorList
	if e.Series.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if e.Series.LastObservedTime.Time.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
	return errs
}

// validateUpdate agrees with upstream's ValidateEventUpdate: through
// events.k8s.io only the series may change.
func validateUpdate(ctx context.Context, e, old *corev1.Event) field.ErrorList {
	core := viaCore(ctx)
	errs := validateLegacy(e, core)
	if core {
		return errs
	}
	errs = append(errs, validateSeries(e)...)
	same := func(path string, a, b any) {
		errs = append(errs, apivalidation.ValidateImmutableField(a, b, field.NewPath(path))...)
	}
	same("involvedObject", e.InvolvedObject, old.InvolvedObject)
	same("reason", e.Reason, old.Reason)
	same("message", e.Message, old.Message)
	same("source", e.Source, old.Source)
	same("firstTimestamp", e.FirstTimestamp, old.FirstTimestamp)
	same("lastTimestamp", e.LastTimestamp, old.LastTimestamp)
	same("count", e.Count, old.Count)
	same("type", e.Type, old.Type)
	// MicroTime loses precision in protobuf: compare to the microsecond.
	if !e.EventTime.Truncate(time.Microsecond).Equal(old.EventTime.Truncate(time.Microsecond)) {
		same("eventTime", e.EventTime, old.EventTime)
	}
	same("action", e.Action, old.Action)
	same("related", e.Related, old.Related)
	same("reportingController", e.ReportingController, old.ReportingController)
	same("reportingInstance", e.ReportingInstance, old.ReportingInstance)
	return errs
}
