package kubelet

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"go.skiff.dev/skiff/internal/apiserver/apitest"
)

// patchGate lets each patch on its way to the API server pass one by one.
type patchGate struct {
	next          http.RoundTripper
	arrived, pass chan struct{}
}

func (g patchGate) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPatch {
		g.arrived <- struct{}{}
		<-g.pass
	}
	return g.next.RoundTrip(r)
}

// TestSettlingBehindAWrite: a status that may wait also waits when it comes in
// while an earlier one is being written.
func TestSettlingBehindAWrite(t *testing.T) {
	server := apitest.Start(t)
	config := rest.CopyConfig(server.Config())
	g := patchGate{arrived: make(chan struct{}), pass: make(chan struct{})}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		g.next = next
		return g
	})
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	pod := podOfNames(v1.RestartPolicyAlways, "a")
	pod.UID, pod.Namespace = "", server.Namespace(t)
	pod.Spec.NodeName = "n"
	pod, err = client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	status := func(generation int64, records ...string) v1.PodStatus {
		return statusFor(pod, viewOf(true, records...), func(in *statusInput) {
			in.Memory["a"] = containerMemory{Resized: "id-a"}
			in.Pod = pod.DeepCopy()
			in.Pod.Generation = generation
		})
	}
	writer := newStatusWriter(client, slog.New(slog.DiscardHandler))
	writer.publish(pod, status(1, "a:run"), false)
	<-g.arrived
	g.pass <- struct{}{}

	// Another container is wanted: that this was seen is told at once, and while it
	// is, the old one ends.
	writer.publish(pod, status(2, "a:run"), false)
	<-g.arrived
	ended := time.Now()
	writer.publish(pod, status(2, "a:ok"), false)
	g.pass <- struct{}{}
	<-g.arrived
	if waited := time.Since(ended); waited < exchange {
		t.Errorf("that the old container ended was told after %s", waited)
	}
	g.pass <- struct{}{}
}
