package resource

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ownAddress is an address of this machine that is not loopback's.
func ownAddress(t *testing.T) string {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return ip.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback's")
	return ""
}

func TestRelay(t *testing.T) {
	ip := ownAddress(t)
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	web := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "http://169.254.169.254/secret", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, r.Method+" "+r.URL.String())
	})}}
	web.Start()
	defer web.Close()
	u, _ := url.Parse(web.URL)
	s := startServer(t, func(d *Deps) { d.NodeConn = kubelet{web.URL} })
	ctx := context.Background()
	for _, name := range []string{"a", "inside"} {
		if _, err := s.CoreV1().Pods("default").Create(ctx, newPod(name, onNode("n")), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, ip := range map[string]string{"a": ip, "inside": "127.0.0.1"} {
		if _, err := s.CoreV1().Pods("default").Patch(ctx, name, types.MergePatchType, []byte(`{"status":{"podIP":"`+ip+`"}}`), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.CoreV1().Services("default").Create(ctx, newService("s"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	port := int32(listener.Addr().(*net.TCPAddr).Port)
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "s", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}}}, Ports: []discoveryv1.EndpointPort{{Port: &port}}}
	if _, err := s.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/api/v1/namespaces/default/pods/a:" + u.Port() + "/proxy/x/y?q=1", "GET /x/y?q=1"},
		{"POST", "/api/v1/namespaces/default/pods/a:" + u.Port() + "/proxy/x/", "POST /x/"},
		{"GET", "/api/v1/namespaces/default/pods/inside:" + u.Port() + "/proxy/", "address not allowed"},
		{"GET", "/api/v1/namespaces/default/services/s/proxy/z", "GET /z"},
		{"GET", "/api/v1/namespaces/default/services/s:81/proxy/z", "no service port"},
		{"GET", "/api/v1/nodes/n/proxy/healthz", "GET /healthz"},
		{"GET", "/api/v1/namespaces/default/services/s/proxy/../z", "GET /z"},
		{"POST", "/api/v1/namespaces/default/services/s/proxy", "POST /"},
	} {
		if _, got := s.request(t, c.method, c.path, "", "", ""); got != c.want && (strings.HasPrefix(c.want, c.method+" ") || !strings.Contains(got, c.want)) {
			t.Errorf("%s %s: %q, want %q", c.method, c.path, got, c.want)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	// Links in a page are relative to its path, so that of the proxy must end with a slash.
	for _, path := range []string{"/api/v1/namespaces/default/pods/a:" + u.Port() + "/proxy", "/api/v1/namespaces/default/services/s/proxy", "/api/v1/nodes/n/proxy"} {
		resp, err := client.Get(s.url + path + "?q=1")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if where := resp.Header.Get("Location"); resp.StatusCode != http.StatusMovedPermanently || where != path+"/?q=1" {
			t.Errorf("GET %s: %s to %q, want a redirect to its slash", path, resp.Status, where)
		}
	}
	resp, err := client.Get(s.url + "/api/v1/namespaces/default/pods/a:" + u.Port() + "/proxy/away")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		t.Errorf("a redirect was followed: %d", resp.StatusCode)
	}
}
