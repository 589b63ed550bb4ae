package apiserver_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"go.skiff.dev/skiff/internal/apiserver/apitest"
	"go.skiff.dev/skiff/internal/pki"
)

// tlsClient is a client that comes from outside with a certificate.
func tlsClient(t *testing.T, s *apitest.Server, user string, groups ...string) kubernetes.Interface {
	t.Helper()
	cfg, err := s.TLSConfig(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.NewForConfigOrDie(cfg)
}

func TestAccessByCertificate(t *testing.T) {
	s := apitest.Start(t)
	tests := []struct {
		user   string
		groups []string
		listed bool
	}{
		{"skiff-admin", []string{"system:masters"}, true},
		{"system:kube-scheduler", nil, true},
		{"system:node:a", []string{"system:nodes"}, true},
		{"system:node:a", nil, false},
		{"bob", []string{"system:nodes"}, false},
		{"bob", nil, false},
	}
	for _, test := range tests {
		client := tlsClient(t, s, test.user, test.groups...)
		_, err := client.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{})
		if test.listed != (err == nil) {
			t.Errorf("%s %v: listing secrets: %v", test.user, test.groups, err)
		}
		if err == nil {
			continue
		}
		want := `secrets is forbidden: User "` + test.user + `" cannot list resource "secrets" in API group "" in the namespace "default"`
		if err.Error() != want || !apierrors.IsForbidden(err) {
			t.Errorf("%s: got %q, want %q", test.user, err, want)
		}
		if _, err := client.Discovery().ServerGroups(); err != nil {
			t.Errorf("%s: discovery: %v", test.user, err)
		}
	}
}

func TestWhoAmI(t *testing.T) {
	s := apitest.Start(t)
	for name, client := range map[string]kubernetes.Interface{
		"inside":  s.As("bob", "builders"),
		"outside": tlsClient(t, s, "bob", "builders"),
	} {
		me, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		info := me.Status.UserInfo
		if info.Username != "bob" || strings.Join(info.Groups, ",") != "builders,system:authenticated" {
			t.Errorf("%s: got %+v", name, info)
		}
	}
}

// TestStrangers sends requests without any identity, with one from another
// authority, and with headers that claim one.
func TestStrangers(t *testing.T) {
	s := apitest.Start(t)
	other, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	forged, err := other.ClientCert("skiff-admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	// A server's certificate must not serve as a client's.
	server, err := s.Authority.ServingCert(pki.ServingRequest{CommonName: "skiff-admin", Organizations: []string{"system:masters"}})
	if err != nil {
		t.Fatal(err)
	}
	claims := http.Header{
		"Impersonate-User": {"skiff-admin"}, "X-Remote-User": {"skiff-admin"}, "X-Remote-Group": {"system:masters"},
		"Authorization": {"Bearer nonsense"},
	}
	tests := []struct {
		name   string
		pair   *pki.Pair
		header http.Header
		path   string
		status int
	}{
		{"health", nil, nil, "/readyz", 200},
		{"one check", nil, nil, "/livez/etcd", 200},
		{"version", nil, nil, "/version", 200},
		{"metrics", nil, nil, "/metrics", 401},
		{"discovery", nil, nil, "/api", 401},
		{"objects", nil, nil, "/api/v1/secrets", 401},
		{"claimed headers", nil, claims, "/api/v1/secrets", 401},
		{"another authority", &forged, nil, "/api/v1/secrets", 401},
		{"a serving certificate", &server, nil, "/api/v1/secrets", 401},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := get(t, s, test.pair, test.header, test.path); got != test.status {
				t.Errorf("GET %s: got %d, want %d", test.path, got, test.status)
			}
		})
	}
}

func get(t *testing.T, s *apitest.Server, pair *pki.Pair, header http.Header, path string) int {
	t.Helper()
	cfg := &tls.Config{RootCAs: s.Authority.Pool()}
	if pair != nil {
		cert, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	transport := &http.Transport{TLSClientConfig: cfg}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// bearer is a client that comes from outside with a token.
func bearer(s *apitest.Server, token string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(&rest.Config{Host: s.URL, BearerToken: token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAData: s.Authority.CAPEM()}})
}
