package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// scripted answers with the exit codes given, the last one for ever.
func scripted(began time.Time, at *[]time.Duration, codes ...int32) Exec {
	return func(context.Context, string, []string, time.Duration) ([]byte, int32, error) {
		code := codes[min(len(*at), len(codes)-1)]
		*at = append(*at, time.Since(began)/time.Millisecond)
		return []byte("said\n"), code, nil
	}
}

func TestWatchTimesAndThresholds(t *testing.T) {
	for name, c := range map[string]struct {
		kind    Kind
		probe   v1.Probe
		codes   []int32
		initial Result
		asked   []time.Duration // milliseconds since the start
		changes []Result
	}{
		"readiness asks at once, then each period": {
			kind: Readiness, probe: v1.Probe{PeriodSeconds: 5}, codes: []int32{0, 0, 0, 1},
			asked: []time.Duration{0, 5000, 10000, 15000, 20000}, changes: []Result{Success, Failure}, initial: Unknown,
		},
		"a first no is not taken for an answer": {
			kind: Readiness, probe: v1.Probe{PeriodSeconds: 10}, codes: []int32{1, 1, 1, 0},
			asked: []time.Duration{0, 100, 300, 700, 10000, 20000}, changes: []Result{Success}, initial: Failure,
		},
		"but it is after a period": {
			kind: Readiness, probe: v1.Probe{PeriodSeconds: 1, FailureThreshold: 1}, codes: []int32{1, 1, 1, 1, 1, 0},
			asked: []time.Duration{0, 100, 300, 700, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000, 11000, 12000, 13000, 14000, 15000, 16000, 17000, 18000, 19000, 20000}, changes: []Result{Failure, Success}, initial: Unknown,
		},
		"readiness after a delay": {
			kind: Readiness, probe: v1.Probe{PeriodSeconds: 10, InitialDelaySeconds: 7}, codes: []int32{0},
			asked: []time.Duration{7000, 17000}, changes: []Result{Success}, initial: Failure,
		},
		"thresholds count in a row": {
			kind: Readiness, probe: v1.Probe{PeriodSeconds: 2, FailureThreshold: 2, SuccessThreshold: 3}, codes: []int32{0, 1, 0, 1, 1, 0, 0, 0},
			asked: []time.Duration{0, 2000, 4000, 6000, 8000, 10000, 12000, 14000, 16000, 18000, 20000}, changes: []Result{Failure, Success}, initial: Success,
		},
		"liveness ends with the verdict": {
			kind: Liveness, probe: v1.Probe{PeriodSeconds: 3, FailureThreshold: 2}, codes: []int32{1},
			asked: []time.Duration{3000, 6000}, changes: []Result{Failure}, initial: Success,
		},
		"startup ends with success": {
			kind: Startup, probe: v1.Probe{PeriodSeconds: 1, FailureThreshold: 30}, codes: []int32{1, 1, 1, 1, 1, 0},
			asked: []time.Duration{0, 100, 300, 700, 1000, 2000}, changes: []Result{Success}, initial: Unknown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var asked []time.Duration
				var changes []Result
				asker := &Asker{Exec: scripted(began, &asked, c.codes...)}
				c.probe.Exec = &v1.ExecAction{Command: []string{"check"}}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second+time.Millisecond)
				defer cancel()
				asker.Watch(ctx, c.kind, &c.probe, Target{Container: &v1.Container{}, Started: began}, c.initial, func(r Report) {
					if r.Changed {
						changes = append(changes, r.Verdict)
					}
				})
				if !slices.Equal(asked, c.asked) {
					t.Errorf("asked at %v, want %v", asked, c.asked)
				}
				if !slices.Equal(changes, c.changes) {
					t.Errorf("changes %v, want %v", changes, c.changes)
				}
			})
		})
	}
}

func TestExecAnswers(t *testing.T) {
	p := &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"x"}}}, TimeoutSeconds: 2}
	answer := func(code int32, err error) (Result, string, error) {
		a := &Asker{Exec: func(context.Context, string, []string, time.Duration) ([]byte, int32, error) {
			return []byte("out"), code, err
		}}
		return a.Ask(t.Context(), p, Target{})
	}
	if r, out, err := answer(0, nil); r != Success || out != "out" || err != nil {
		t.Error(r, out, err)
	}
	if r, out, _ := answer(3, nil); r != Failure || out != "out" {
		t.Error(r, out)
	}
	if r, out, _ := answer(0, ErrTimeout); r != Failure || out != `command timed out: ["x"] timed out after 2s` {
		t.Error(r, out)
	}
	if r, _, err := answer(0, errors.New("gone")); r != Unknown || err == nil {
		t.Error(r, err)
	}
}

// serverTarget is a target and a port for a test server.
func serverTarget(t *testing.T, server *httptest.Server) (Target, intstr.IntOrString) {
	t.Helper()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return Target{Container: &v1.Container{Ports: []v1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}, IP: u.Hostname()}, intstr.FromString("web")
}

func TestHTTP(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			if r.Host != "app.example" || r.Header.Get("X-A") != "b" || r.Header.Get("User-Agent") != "kube-probe/1.36" || r.URL.RawQuery != "q=1" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/moved":
			http.Redirect(w, r, "/ok?q=1", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	for scheme, server := range map[v1.URIScheme]*httptest.Server{v1.URISchemeHTTP: httptest.NewServer(handler), v1.URISchemeHTTPS: httptest.NewTLSServer(handler)} {
		defer server.Close()
		target, port := serverTarget(t, server)
		asker := &Asker{UserAgent: "kube-probe/1.36"}
		for path, want := range map[string]Result{"/ok?q=1": Success, "/away": Warning, "/broken": Failure} {
			get := &v1.HTTPGetAction{Path: path, Port: port, Scheme: scheme, HTTPHeaders: []v1.HTTPHeader{{Name: "host", Value: "app.example"}, {Name: "X-A", Value: "b"}}}
			got, out, err := asker.Ask(t.Context(), &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: get}, TimeoutSeconds: 5}, target)
			if got != want || err != nil {
				t.Errorf("%s %s: %v %q %v, want %v", scheme, path, got, out, err, want)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	header, _ := Headers(&v1.HTTPGetAction{}, "kube-probe/1.36")
	if header.Get("Accept") != "*/*" || header.Get("User-Agent") != "kube-probe/1.36" {
		t.Errorf("without its own: %v", header)
	}
	header, _ = Headers(&v1.HTTPGetAction{HTTPHeaders: []v1.HTTPHeader{{Name: "accept"}, {Name: "User-Agent"}}}, "kube-probe/1.36")
	if _, sent := header["Accept"]; sent || header.Get("User-Agent") != "" {
		t.Errorf("with empty ones: %v", header)
	}
}

// TestWarningCountsAsSuccess: a probe that is led elsewhere was answered.
func TestWarningCountsAsSuccess(t *testing.T) {
	w := &tally{kind: Readiness, probe: &v1.Probe{SuccessThreshold: 2}, verdict: Failure}
	if changed, _ := w.count(Success); changed {
		t.Error("changed by one of two")
	}
	if changed, _ := w.count(Warning); !changed || w.verdict != Success {
		t.Errorf("not changed: %v", w.verdict)
	}
}

func TestHTTPFailsInWords(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	target, port := serverTarget(t, server)
	p := &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: port}}}
	if r, out, _ := (&Asker{}).Ask(t.Context(), p, target); r != Failure || out != "HTTP probe failed with statuscode: 404" {
		t.Error(r, out)
	}
	server.Close()
	if r, out, _ := (&Asker{}).Ask(t.Context(), p, target); r != Failure || !strings.Contains(out, "connection refused") {
		t.Error(r, out)
	}
	p.HTTPGet.Port = intstr.FromString("nope")
	if r, _, err := (&Asker{}).Ask(t.Context(), p, target); r != Unknown || err == nil {
		t.Error(r, err)
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &v1.Probe{ProbeHandler: v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt(l.Addr().(*net.TCPAddr).Port)}}}
	target := Target{Container: &v1.Container{}, IP: "127.0.0.1"}
	if r, out, err := (&Asker{}).Ask(t.Context(), p, target); r != Success {
		t.Error(r, out, err)
	}
	_ = l.Close()
	if r, _, _ := (&Asker{}).Ask(t.Context(), p, target); r != Failure {
		t.Error(r)
	}
}
