package kubelet

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

func tryNodeAPI(t *testing.T, c *testCluster) {
	c.pod("talk", "echo one; echo two >&2; touch /tmp/said; "+forever, func(p *v1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = &v1.Probe{PeriodSeconds: 1, ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"test", "-e", "/tmp/said"}}}}
	})
	c.ready("talk")
	url := "https://192.0.2.1:" + fmt.Sprint(c.kubelet.node.port)
	get := func(client *http.Client, path string) (int, string) {
		resp, err := client.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	clientOf := func(user string, groups ...string) *http.Client {
		config := &tls.Config{RootCAs: c.api.Authority.Pool()}
		if user != "" {
			pair, err := c.api.Authority.ClientCert(user, groups...)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := pair.TLS()
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{cert}
		}
		return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	}
	admin := clientOf("kube-apiserver-kubelet-client", "system:masters")
	for path, want := range map[string]string{
		"/healthz": "ok",
		"/containerLogs/default/talk/main?tailLines=1":   "two\n",
		"/containerLogs/default/talk/main?stream=Stdout": "one\n",
		"/pods":              `"name":"talk"`,
		"/runningpods/":      `"name":"talk"`,
		"/stats/summary?":    `"rxBytes":`,
		"/stats/summary":     `"name":"talk"`,
		"/metrics/cadvisor?": `,image="busybox",namespace="default",pod="talk",container="main",cpu="total"} `,
		"/metrics/cadvisor":  `container_memory_rss{id="`,
		"/metrics/resource?": `container_start_time_seconds{container="main",namespace="default",pod="talk"}`,
		"/metrics/resource":  `container_memory_working_set_bytes{container="main",namespace="default",pod="talk"}`,
	} {
		if code, body := get(admin, path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	for _, path := range []string{"/healthz", "/pods", "/containerLogs/default/talk/main", "/nothing"} {
		if code, _ := get(clientOf(""), path); code != http.StatusUnauthorized {
			t.Errorf("anonymous %s: %d", path, code)
		}
		if code, _ := get(clientOf("somebody", "users"), path); code != http.StatusForbidden {
			t.Errorf("somebody %s: %d", path, code)
		}
	}
	logs, err := c.client.CoreV1().Pods("default").GetLogs("talk", &v1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil || string(logs) != "one\ntwo\n" {
		t.Errorf("logs through the API server: %q %v", logs, err)
	}
}

func tryStreams(t *testing.T, c *testCluster) {
	// The end comes from outside: a command inside that asked for it would be killed with the container, its exit code lost.
	host := t.TempDir()
	c.pod("stream", "until test -e /host/end; do sleep 0.05; done; echo bye", func(p *v1.Pod) {
		never(p)
		p.Spec.Volumes = []v1.Volume{{Name: "host", VolumeSource: v1.VolumeSource{HostPath: &v1.HostPathVolumeSource{Path: host}}}}
		p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "host", MountPath: "/host"}}
	})
	c.ready("stream")
	outside, err := c.api.TLSConfig("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	logs, err := c.client.CoreV1().Pods("default").GetLogs("stream", &v1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	request := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name("stream").SubResource("exec").
		VersionedParams(&v1.PodExecOptions{Container: "main", Command: []string{"sh", "-c", "cat; echo err >&2; exit 3"}, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	target, err := url.Parse(c.api.URL)
	if err != nil {
		t.Fatal(err)
	}
	target.Path, target.RawQuery = request.URL().Path, request.URL().RawQuery
	for name, make := range map[string]func() (remotecommand.Executor, error){
		"spdy": func() (remotecommand.Executor, error) { return remotecommand.NewSPDYExecutor(outside, "POST", target) },
		"websocket": func() (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(outside, "GET", target.String())
		},
	} {
		executor, err := make()
		if err != nil {
			t.Fatal(err)
		}
		var out, errOut bytes.Buffer
		err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("in"), Stdout: &out, Stderr: &errOut})
		var exit utilexec.ExitError
		if !errors.As(err, &exit) || exit.ExitStatus() != 3 || out.String() != "in" || errOut.String() != "err\n" {
			t.Errorf("%s: %q %q %v", name, out.String(), errOut.String(), err)
		}
	}
	if err := os.WriteFile(filepath.Join(host, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(logs); err != nil || string(all) != "bye\n" {
		t.Errorf("followed log %q %v", all, err)
	}
}
