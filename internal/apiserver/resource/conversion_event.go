package resource

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addEventConversions makes the core group's Event the hub of events.k8s.io:
// both groups are views of one stored object, as upstream.
func addEventConversions(scheme *runtime.Scheme) error {
	internal := eventsv1.SchemeGroupVersion
	internal.Version = runtime.APIVersionInternal
	scheme.AddKnownTypeWithName(internal.WithKind("Event"), &corev1.Event{})
	scheme.AddKnownTypeWithName(internal.WithKind("EventList"), &corev1.EventList{})

	for _, add := range []func() error{
		func() error {
			return scheme.AddConversionFunc((*corev1.Event)(nil), (*eventsv1.Event)(nil), func(a, b any, _ conversion.Scope) error {
				eventFromCore(a.(*corev1.Event), b.(*eventsv1.Event))
				return nil
			})
		},
		func() error {
			return scheme.AddConversionFunc((*eventsv1.Event)(nil), (*corev1.Event)(nil), func(a, b any, _ conversion.Scope) error {
				eventToCore(a.(*eventsv1.Event), b.(*corev1.Event))
				return nil
			})
		},
		func() error {
			return scheme.AddConversionFunc((*corev1.EventList)(nil), (*eventsv1.EventList)(nil), func(a, b any, _ conversion.Scope) error {
				in, out := a.(*corev1.EventList), b.(*eventsv1.EventList)
				out.ListMeta = in.ListMeta
				out.Items = make([]eventsv1.Event, len(in.Items))
				for i := range in.Items {
					eventFromCore(&in.Items[i], &out.Items[i])
				}
				return nil
			})
		},
		func() error {
			return scheme.AddConversionFunc((*eventsv1.EventList)(nil), (*corev1.EventList)(nil), func(a, b any, _ conversion.Scope) error {
				in, out := a.(*eventsv1.EventList), b.(*corev1.EventList)
				out.ListMeta = in.ListMeta
				out.Items = make([]corev1.Event, len(in.Items))
				for i := range in.Items {
					eventToCore(&in.Items[i], &out.Items[i])
				}
				return nil
			})
		},
	} {
		if err := add(); err != nil {
			return err
		}
	}
	return nil
}

func eventFromCore(in *corev1.Event, out *eventsv1.Event) {
	out.ObjectMeta = in.ObjectMeta
	out.EventTime = in.EventTime
	out.ReportingController = in.ReportingController
	out.ReportingInstance = in.ReportingInstance
	out.Action = in.Action
	out.Reason = in.Reason
	out.Regarding = in.InvolvedObject
	out.Related = in.Related
	out.Note = in.Message
	out.Type = in.Type
	out.DeprecatedSource = in.Source
	out.DeprecatedFirstTimestamp = in.FirstTimestamp
	out.DeprecatedLastTimestamp = in.LastTimestamp
	out.DeprecatedCount = in.Count
	out.Series = nil
	if in.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
}

func eventToCore(in *eventsv1.Event, out *corev1.Event) {
	out.ObjectMeta = in.ObjectMeta
	out.EventTime = in.EventTime
	out.ReportingController = in.ReportingController
	out.ReportingInstance = in.ReportingInstance
	out.Action = in.Action
	out.Reason = in.Reason
	out.InvolvedObject = in.Regarding
	out.Related = in.Related
	out.Message = in.Note
	out.Type = in.Type
	out.Source = in.DeprecatedSource
	out.FirstTimestamp = in.DeprecatedFirstTimestamp
	out.LastTimestamp = in.DeprecatedLastTimestamp
	out.Count = in.DeprecatedCount
	out.Series = nil
	if in.Series != nil {
		out.Series = &corev1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
}
