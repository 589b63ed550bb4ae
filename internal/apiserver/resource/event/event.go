// Package event is the Event kind, one storage for the core group and for
// events.k8s.io.
package event

import (
	"cmp"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/generic"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// defaultTTL is how long upstream keeps events.
const defaultTTL = time.Hour

// Kind describes Event.
func Kind() kind.Kind[*corev1.Event] {
	return kind.Kind[*corev1.Event]{
		Resource:   schema.GroupResource{Resource: "events"},
		Version:    "v1",
		Singular:   "event",
		ShortNames: []string{"ev"},
		Namespaced: true,
		New:        func() *corev1.Event { return &corev1.Event{} },
		NewList:    func() runtime.Object { return &corev1.EventList{} },
		Fields:     selectable,
		Rules: kind.Rules[*corev1.Event]{
			Name:           func(string, bool) []string { return nil }, // only a path segment, which is checked for every kind
			CreateOnUpdate: true,
			Validate:       validate,
			ValidateUpdate: validateUpdate,
		},
		Table: kind.Table[*corev1.Event]{
			Columns: []metav1.TableColumnDefinition{
				kind.Column("Last Seen", corev1.Event{}.SwaggerDoc()["lastTimestamp"]),
				kind.Column("Type", corev1.Event{}.SwaggerDoc()["type"]),
				kind.Column("Reason", corev1.Event{}.SwaggerDoc()["reason"]),
				kind.Column("Object", corev1.Event{}.SwaggerDoc()["involvedObject"]),
				kind.Wide(kind.Column("Subobject", corev1.Event{}.InvolvedObject.SwaggerDoc()["fieldPath"])),
				kind.Wide(kind.Column("Source", corev1.Event{}.SwaggerDoc()["source"])),
				kind.Column("Message", corev1.Event{}.SwaggerDoc()["message"]),
				kind.Wide(kind.Column("First Seen", corev1.Event{}.SwaggerDoc()["firstTimestamp"])),
				kind.Wide(kind.Column("Count", corev1.Event{}.SwaggerDoc()["count"])),
				kind.Wide(kind.NameColumn()),
			},
			Row: row,
		},
	}
}

// Store makes the storage of events, which the store forgets after the TTL.
func Store(scheme *runtime.Scheme, getter generic.RESTOptionsGetter, ttl time.Duration) (*kind.Store, error) {
	if ttl <= 0 {
		ttl = defaultTTL
	}
	store, err := Kind().Store(scheme, getter)
	if err != nil {
		return nil, err
	}
	seconds := uint64(ttl.Seconds())
	store.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return seconds, nil }
	return store, nil
}

func selectable(e *corev1.Event) fields.Set {
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	return fields.Set{
		"involvedObject.kind":            e.InvolvedObject.Kind,
		"involvedObject.namespace":       e.InvolvedObject.Namespace,
		"involvedObject.name":            e.InvolvedObject.Name,
		"involvedObject.uid":             string(e.InvolvedObject.UID),
		"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
		"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
		"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
		"reason":                         e.Reason,
		"reportingComponent":             e.ReportingController,
		"source":                         source,
		"type":                           e.Type,
	}
}

// row agrees with upstream's printEvent.
func row(e *corev1.Event) []any {
	first := ago(e.FirstTimestamp.Time)
	if e.FirstTimestamp.IsZero() {
		first = ago(e.EventTime.Time)
	}
	last := first
	switch {
	case e.Series != nil:
		last = ago(e.Series.LastObservedTime.Time)
	case !e.LastTimestamp.IsZero():
		last = ago(e.LastTimestamp.Time)
	}
	count := int64(e.Count)
	switch {
	case e.Series != nil:
		count = int64(e.Series.Count)
	case count == 0:
		count = 1 // singleton
	}
	object := e.InvolvedObject.Name
	if e.InvolvedObject.Kind != "" {
		object = fmt.Sprintf("%s/%s", lower(e.InvolvedObject.Kind), object)
	}
	return []any{
		last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source(e), trim(e.Message), first, count, e.Name,
	}
}

func ago(t time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t))
}

func source(e *corev1.Event) string {
	component, host := cmp.Or(e.Source.Component, e.ReportingController), cmp.Or(e.Source.Host, e.ReportingInstance)
	if host != "" {
		return component + ", " + host
	}
	return component
}
