// Package apitest starts the real store and the real API server inside a test's
// process, on a free port and in a fresh directory.
//
//	server := apitest.Start(t)
//	pods := server.Client().CoreV1().Pods("default")
//
// No controllers run. Start makes the account "default" in the namespace
// "default", so that pods can be created there; Namespace makes further ones.
package apitest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"go.skiff.dev/skiff/internal/apiserver"
	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/lifecycle"
	"go.skiff.dev/skiff/internal/pki"
	"go.skiff.dev/skiff/internal/store"
)

// NodeIP is the address of the pretended node (TEST-NET-1, RFC 5737).
const NodeIP = "192.0.2.10"

// startTimeout is far beyond what a start takes, even on a busy machine.
const startTimeout = time.Minute

// Server is a running API server.
type Server struct {
	API       *apiserver.Server
	Authority *pki.Authority
	// Dir holds the server's data: DIR/etcd, DIR/pki, DIR/etcd.sock.
	Dir string
	// URL is the server's address over TLS.
	URL string
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string
}

// Start runs a store and an API server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	// Not t.TempDir: its path can be too long for a unix socket.
	dir, err := os.MkdirTemp("", "apitest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return StartIn(t, dir)
}

// StartIn is Start with the data in dir, which may hold an earlier server's.
func StartIn(t testing.TB, dir string) *Server {
	t.Helper()
	s, stop, err := Run(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stopping the API server: %v", err)
		}
	})
	return s
}

// Run is Start without a test: it returns when the server is ready, together
// with the function that stops it.
func Run(dir string) (*Server, func() error, error) {
	authority, err := pki.Open(filepath.Join(dir, "pki"))
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	db := store.New(store.Options{Dir: filepath.Join(dir, "etcd"), Socket: filepath.Join(dir, "etcd.sock"), Log: log})
	api, err := apiserver.New(context.Background(), apiserver.Options{
		Store:         db,
		Authority:     authority,
		Bind:          netip.MustParseAddr("127.0.0.1"),
		NodeName:      "test-node",
		NodeIP:        netip.MustParseAddr(NodeIP),
		ServiceCIDR:   netip.MustParsePrefix("10.43.0.0/16"),
		NodePorts:     config.PortRange{First: 30000, Last: 32767},
		ClusterDomain: "cluster.local",
		Log:           log,
	})
	if err != nil {
		return nil, nil, err
	}
	s := &Server{API: api, Authority: authority, Dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	stop, err := s.run(lifecycle.Group{Components: []lifecycle.Component{db.Component(), api.Component()}})
	if err != nil {
		return nil, nil, err
	}
	if err := s.addAccount(context.Background(), metav1.NamespaceDefault); err != nil {
		return nil, nil, stopAfter(err, stop)
	}
	s.URL = fmt.Sprintf("https://127.0.0.1:%d", api.Port())
	kubeconfig, err := api.AdminKubeconfig("test", s.URL)
	if err == nil {
		err = os.WriteFile(s.Kubeconfig, kubeconfig, 0o600)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("writing the kubeconfig: %w", stopAfter(err, stop))
	}
	return s, stop, nil
}

// run starts the group and waits until all of it is ready.
func (s *Server) run(group lifecycle.Group) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- group.Run(ctx, func([]lifecycle.Stage) { close(ready) }) }()
	stop = func() error {
		cancel()
		return <-done
	}
	select {
	case <-ready:
		return stop, nil
	case err := <-done:
		cancel()
		return nil, err
	case <-time.After(startTimeout):
		return nil, stopAfter(fmt.Errorf("starting the API server: not ready after %s", startTimeout), stop)
	}
}

func stopAfter(err error, stop func() error) error {
	if serr := stop(); serr != nil {
		return fmt.Errorf("%w (and stopping: %w)", err, serr)
	}
	return err
}

// addAccount makes the account "default" of a namespace. In a whole cluster a
// controller does it; without one, no pod could be created.
func (s *Server) addAccount(ctx context.Context, namespace string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err := s.Client().CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating the default account of %q: %w", namespace, err)
	}
	return nil
}

// Namespace makes a new namespace with its default account and returns its name.
func (s *Server) Namespace(t testing.TB) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	ns, err := s.Client().CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{})
	if err == nil {
		err = s.addAccount(t.Context(), ns.Name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// Config is the in-process configuration of the administrator.
func (s *Server) Config() *rest.Config {
	return s.API.ClientConfig("skiff-admin", "system:masters")
}

// Client is an in-process client of the administrator; As of somebody else.
func (s *Server) Client() kubernetes.Interface { return s.As("skiff-admin", "system:masters") }

// As returns an in-process client with the given identity.
func (s *Server) As(user string, groups ...string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(s.API.ClientConfig(user, groups...))
}

// TLSConfig is a configuration that goes through TLS with a client certificate,
// as an outside program would.
func (s *Server) TLSConfig(user string, groups ...string) (*rest.Config, error) {
	pair, err := s.Authority.ClientCert(user, groups...)
	if err != nil {
		return nil, err
	}
	return &rest.Config{Host: s.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{
		CAData: s.Authority.CAPEM(), CertData: pair.Cert, KeyData: pair.Key}}, nil
}
