package resource

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/apiserver/resource/apps"
	"go.skiff.dev/skiff/internal/apiserver/resource/config"
	"go.skiff.dev/skiff/internal/apiserver/resource/coordination"
	"go.skiff.dev/skiff/internal/apiserver/resource/endpoint"
	"go.skiff.dev/skiff/internal/apiserver/resource/event"
	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
	"go.skiff.dev/skiff/internal/apiserver/resource/namespace"
	"go.skiff.dev/skiff/internal/apiserver/resource/node"
	"go.skiff.dev/skiff/internal/apiserver/resource/pod"
	"go.skiff.dev/skiff/internal/apiserver/resource/service"
	"go.skiff.dev/skiff/internal/apiserver/resource/serviceaccount"
)

// TestTablesAreComplete: every kind has a table, with a cell for each column,
// even of an object of which nothing is known yet.
func TestTablesAreComplete(t *testing.T) {
	complete(t, apps.Deployment())
	complete(t, apps.ReplicaSet())
	complete(t, config.ConfigMap())
	complete(t, config.Secret())
	complete(t, coordination.Lease())
	complete(t, endpoint.Endpoints())
	complete(t, endpoint.Slice())
	complete(t, event.Kind())
	complete(t, namespace.Kind())
	complete(t, node.Kind())
	complete(t, pod.Kind())
	complete(t, service.Kind())
	complete(t, serviceaccount.Kind())
}

func complete[T kind.Object](t *testing.T, k kind.Kind[T]) {
	t.Helper()
	if k.Table.Row == nil {
		t.Errorf("%s has no table", k.Resource)
		return
	}
	if cells := k.Table.Row(k.New()); len(cells) != len(k.Table.Columns) {
		t.Errorf("%s: %d cells for %d columns", k.Resource, len(cells), len(k.Table.Columns))
	}
}

// TestSelectableFieldsAreKnown: what a kind offers to field selectors, the
// scheme lets through, and what it indexes it has.
func TestSelectableFieldsAreKnown(t *testing.T) {
	known := fieldLabels()
	pods := pod.Kind()
	fields := pods.Fields(pods.New())
	for _, name := range append(pods.Index, pods.Trigger) {
		if _, ok := fields[name]; !ok {
			t.Errorf("pods: %s is indexed but has no value", name)
		}
	}
	scheme := NewScheme()
	for gvk, labels := range known {
		for label := range labels {
			if _, _, err := scheme.ConvertFieldLabel(gvk, label, "x"); err != nil {
				t.Errorf("%s: %v", gvk, err)
			}
		}
	}
}

// TestEventSource: what the old fields leave open, the new ones say.
func TestEventSource(t *testing.T) {
	k := event.Kind()
	for _, c := range []struct {
		e    corev1.Event
		want string
	}{
		{corev1.Event{Source: corev1.EventSource{Component: "kubelet", Host: "n"}}, "kubelet, n"},
		{corev1.Event{ReportingController: "x.io/c", ReportingInstance: "c-1"}, "x.io/c, c-1"},
		{corev1.Event{Source: corev1.EventSource{Component: "c"}, ReportingInstance: "c-1"}, "c, c-1"},
	} {
		if got := k.Table.Row(&c.e)[5]; got != c.want {
			t.Errorf("%v, want %s", got, c.want)
		}
	}
}
