package controllers

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// events records events of all controllers through one broadcaster: it
// aggregates alike events and bounds how many one object may cause.
type events struct {
	broadcaster record.EventBroadcaster
}

func newEvents() *events { return &events{broadcaster: record.NewBroadcaster()} }

func (e *events) recorder(component string) record.EventRecorder {
	return e.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: component})
}

// start begins to write events and returns the stop.
func (e *events) start(client kubernetes.Interface) func() {
	e.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return e.broadcaster.Shutdown
}
