package kubelet

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"

	"go.skiff.dev/skiff/internal/kubelet/probe"
)

func TestHTTPHook(t *testing.T) {
	var agents []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agents = append(agents, r.UserAgent())
		w.WriteHeader(http.StatusInternalServerError)
	}))
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	recorder := record.NewFakeRecorder(2)
	k := &Kubelet{events: &events{recorder: recorder}}
	pod := podOfNames("Always", "a")
	hook := func(scheme v1.URIScheme) error {
		return k.runHook(t.Context(), pod, &pod.Spec.Containers[0], "id", u.Hostname(), &v1.LifecycleHandler{
			HTTPGet: &v1.HTTPGetAction{Port: intstr.FromInt(port), Scheme: scheme},
		})
	}
	if err := hook(v1.URISchemeHTTP); err != nil || len(recorder.Events) > 0 {
		t.Errorf("any answer will do: %v, %d events", err, len(recorder.Events))
	}
	if err := hook(v1.URISchemeHTTPS); err != nil {
		t.Errorf("HTTPS where HTTP is spoken: %v", err)
	}
	if got, want := <-recorder.Events, "Warning LifecycleHTTPFallback request to HTTPS lifecycle hook "+u.Host+" got HTTP response, retry with HTTP succeeded"; got != want {
		t.Errorf("event %q, want %q", got, want)
	}
	if !slices.Equal(agents, []string{"kube-lifecycle/1.36", "kube-lifecycle/1.36"}) {
		t.Errorf("agents %q", agents)
	}
	server.Close()
	if hook(v1.URISchemeHTTP) == nil {
		t.Error("nobody answers, and that is fine")
	}
	if k.runHook(t.Context(), pod, &pod.Spec.Containers[0], "id", u.Hostname(), &v1.LifecycleHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt(port)}}) == nil {
		t.Error("there is no hook by tcpSocket")
	}
}

func TestProbeCommand(t *testing.T) {
	c := &v1.Container{Env: []v1.EnvVar{{Name: "PORT", Value: "80"}, {Name: "URL", Value: "x:$(PORT)"}, {Name: "NODE", ValueFrom: &v1.EnvVarSource{}}}}
	p := &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"check", "$(PORT)", "$(URL)", "$(NODE)", "$(NONE)", "$$(PORT)"}}}}
	want := []string{"check", "80", "x:$(PORT)", "", "$(NONE)", "$(PORT)"}
	if got := staticCommand(p, c).Exec.Command; !slices.Equal(got, want) {
		t.Errorf("command %q, want %q", got, want)
	}
	if p.Exec.Command[1] != "$(PORT)" {
		t.Error("the pod itself was changed")
	}
}

func TestCondemned(t *testing.T) {
	pod := podOfNames("Never", "s", "a")
	for name, want := range map[string]string{"s": "Init container s failed liveness probe", "a": "Container a failed liveness probe"} {
		if got := condemned(pod, findContainer(pod, name), probe.Liveness); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := condemned(podOfNames("Always", "a"), &v1.Container{Name: "a"}, probe.Startup); got != "Container a failed startup probe, will be restarted" {
		t.Errorf("%q", got)
	}
}
