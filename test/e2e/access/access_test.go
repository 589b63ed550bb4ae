// Package access tests a running skiff from outside, as an intruder would: what
// listens, and what it says to whom.
package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

func TestAccess(t *testing.T) {
	c := cluster.Start(t)
	c.ImportDebian("access/busybox:1", "busybox")
	api := fmt.Sprintf("https://127.0.0.1:%d", c.APIPort)
	node := nodeURL(c)

	t.Run("the API asks who is calling", func(t *testing.T) { callers(t, c, api) })
	t.Run("the node's API asks who is calling", func(t *testing.T) { nodeCallers(t, c, api, node) })
	t.Run("TLS is 1.2 or later", func(t *testing.T) { oldTLS(t, api, node) })
	t.Run("files and sockets are the administrator's", func(t *testing.T) { files(t, c) })
	t.Run("nothing else listens", func(t *testing.T) { listeners(t, c, node) })
	t.Run("another user of the host gets nowhere", func(t *testing.T) { otherUser(t, c) })
	t.Run("a pod sees no more than it should", func(t *testing.T) { fromPod(t, c, api) })
	t.Run("redirects are not followed", func(t *testing.T) { redirects(t, c) })
}

// caller is someone with, perhaps, a certificate or a token.
type caller struct {
	certificates []tls.Certificate
	token        string
}

// get says which status the caller is answered with.
func (who caller) get(t *testing.T, url string) int {
	t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true,
		// Whoever calls as an intruder does not care who answers.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: who.certificates},
	}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if who.token != "" {
		request.Header.Set("Authorization", "Bearer "+who.token)
	}
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func (who caller) expect(t *testing.T, name, base string, want map[string]int) {
	t.Helper()
	for path, status := range want {
		if got := who.get(t, base+path); got != status {
			t.Errorf("%s: %s answered %d, want %d", name, path, got, status)
		}
	}
}

// ofOtherCA is a certificate that says what the administrator's says, signed by
// someone else.
func ofOtherCA(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "skiff-admin", Organization: []string{"system:masters"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func admin(t *testing.T, c *cluster.Cluster) tls.Certificate {
	t.Helper()
	config, err := clientcmd.LoadFromFile(filepath.Join(c.Dir, "kubeconfig.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	user := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo]
	pair, err := tls.X509KeyPair(user.ClientCertificateData, user.ClientKeyData)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func callers(t *testing.T, c *cluster.Cluster, api string) {
	health := map[string]int{"/healthz": 200, "/livez": 200, "/readyz": 200, "/version": 200}
	stranger := map[string]int{
		"/api": 401, "/apis": 401, "/api/v1/pods": 401, "/api/v1/namespaces/kube-system/secrets": 401, "/metrics": 401,
		"/openapi/v2": 401, "/debug/pprof/": 401, "/logs/": 401, "/": 401,
	}
	anonymous := caller{}
	anonymous.expect(t, "anonymous", api, health)
	anonymous.expect(t, "anonymous", api, stranger)

	forged := caller{certificates: []tls.Certificate{ofOtherCA(t)}}
	for path := range stranger {
		if got := forged.get(t, api+path); got != 401 && got != 403 {
			t.Errorf("a certificate of another CA: %s answered %d", path, got)
		}
	}
	for name, token := range map[string]string{
		"garbage":           "garbage",
		"an unsigned token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6ZGVmYXVsdDpkZWZhdWx0In0.",
		"another audience":  strings.TrimSpace(c.Kubectl("create", "token", "default", "--audience=elsewhere")),
	} {
		caller{token: token}.expect(t, name, api, map[string]int{"/api": 401, "/api/v1/pods": 401})
	}
	account := caller{token: strings.TrimSpace(c.Kubectl("create", "token", "default"))}
	account.expect(t, "a service account", api, health)
	account.expect(t, "a service account", api, map[string]int{
		"/api": 200, "/apis": 200, "/apis/apps/v1": 200, "/openapi/v2": 200,
		"/api/v1/pods": 403, "/api/v1/namespaces/default/secrets": 403, "/api/v1/nodes/x/proxy/": 403, "/metrics": 403, "/debug/pprof/": 403,
		"/api/v1/namespaces/default/serviceaccounts/default": 403,
	})
	c.Kubectl("create", "serviceaccount", "gone")
	orphan := caller{token: strings.TrimSpace(c.Kubectl("create", "token", "gone"))}
	orphan.expect(t, "an account", api, map[string]int{"/api": 200})
	c.Kubectl("delete", "serviceaccount", "gone")
	cluster.Until(t, func() error {
		if got := orphan.get(t, api+"/api"); got != 401 {
			return fmt.Errorf("the token of a deleted account is answered %d", got)
		}
		return nil
	})
	caller{certificates: []tls.Certificate{admin(t, c)}}.expect(t, "the administrator", api, map[string]int{"/api/v1/pods": 200, "/metrics": 200})
}

// nodeURL is where the kubelet listens.
func nodeURL(c *cluster.Cluster) string {
	address := c.Kubectl("get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	port := c.Kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.daemonEndpoints.kubeletEndpoint.Port}")
	return "https://" + address + ":" + port
}

func nodeCallers(t *testing.T, c *cluster.Cluster, api, node string) {
	closed := map[string]int{}
	for _, path := range []string{
		"/", "/healthz", "/pods", "/metrics", "/configz", "/stats/summary", "/logs/", "/debug/pprof/", "/runningpods/",
		"/exec/default/a/b?command=id&output=1", "/run/default/a/b?cmd=id", "/containerLogs/default/a/b", "/attach/default/a/b", "/portForward/default/a",
		"/checkpoint/default/a/b", "/logs/../../etc/passwd", "/logs/%2e%2e/%2e%2e/etc/passwd",
	} {
		closed[path] = http.StatusUnauthorized
	}
	caller{}.expect(t, "anonymous", node, closed)
	for path := range closed {
		for name, who := range map[string]caller{
			"a certificate of another CA": {certificates: []tls.Certificate{ofOtherCA(t)}},
			"a service account":           {token: strings.TrimSpace(c.Kubectl("create", "token", "default"))},
		} {
			if got := who.get(t, node+path); got != 401 && got != 403 {
				t.Errorf("%s: %s answered %d", name, path, got)
			}
		}
	}
	// Paths never lead out of the directory of logs, not even for the administrator.
	root := caller{certificates: []tls.Certificate{admin(t, c)}}
	name := strings.TrimSpace(c.Kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))
	for _, path := range []string{"/logs/../../../etc/passwd", "/logs/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/logs/..%2f..%2f..%2fetc/passwd"} {
		for _, base := range []string{node, api + "/api/v1/nodes/" + name + "/proxy"} {
			if got := root.get(t, base+path); got == http.StatusOK {
				t.Errorf("%s%s is served", base, path)
			}
		}
	}
}

func oldTLS(t *testing.T, urls ...string) {
	for _, url := range urls {
		for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
			conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
			if err == nil {
				conn.Close()
				t.Errorf("%s speaks %s", url, tls.VersionName(version))
			}
		}
		response, err := http.Get("http" + strings.TrimPrefix(url, "https") + "/api/v1/pods")
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusBadRequest {
				t.Errorf("%s without TLS answers %s", url, response.Status)
			}
		}
	}
}

// redirects registers a node whose address answers every call with a redirect
// to a place that must not be reached.
func redirects(t *testing.T, c *cluster.Cluster) {
	reached := make(chan struct{}, 10)
	target := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached <- struct{}{} }))
	defer target.Close()
	evil := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, http.StatusFound) }))
	evil.StartTLS()
	defer evil.Close()
	port := evil.URL[strings.LastIndex(evil.URL, ":")+1:]
	c.Apply(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"evil"}}`)
	defer c.Kubectl("delete", "node", "evil")
	for _, address := range []string{"127.0.0.1", "169.254.169.254"} {
		c.Kubectl("patch", "node", "evil", "--subresource=status", "--type=merge", "-p",
			`{"status":{"addresses":[{"type":"InternalIP","address":"`+address+`"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":`+port+`}}}}`)
		out, err := c.Try("kubectl", "get", "--raw", "/api/v1/nodes/evil/proxy/pods", "--request-timeout=5s")
		if err == nil {
			t.Errorf("the API reached %s: %s", address, out)
		}
	}
	select {
	case <-reached:
		t.Error("the API followed a redirect")
	default:
	}
}
