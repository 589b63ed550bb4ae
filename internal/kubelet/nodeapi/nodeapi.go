// Package nodeapi serves the node's own API, which the API server's node proxy
// speaks: logs, exec, attach, port-forward, the pods, statistics and metrics.
//
// Every request needs a client certificate of the cluster's authority whose
// holder is an administrator (group system:masters), which the API server's own
// certificate for nodes says. There is no anonymous path, not even for health,
// no read-only port, and no redirect is ever made or followed.
package nodeapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
)

// Pods is what the server asks of the node agent.
type Pods interface {
	// Pods lists the node's pods with their statuses.
	Pods() []*v1.Pod
	// Pod finds a pod, or nil. An empty uid matches any.
	Pod(namespace, name, uid string) *v1.Pod
	// Container names the running container of a pod.
	Container(ctx context.Context, pod *v1.Pod, name string) (id string, err error)
	// Sandbox names the ready sandbox of a pod.
	Sandbox(ctx context.Context, pod *v1.Pod) (id string, err error)
	// Log says where the log of a container is, and when it is complete: ended
	// is closed when its container has ended. With previous it is that of the
	// container before. release gives up the subscription.
	Log(ctx context.Context, pod *v1.Pod, container string, previous bool) (path string, ended <-chan struct{}, release func(), err error)
}

// Deps are what the server needs.
type Deps struct {
	Pods      Pods
	Runtime   runtimeapi.RuntimeServiceServer
	Images    runtimeapi.ImageServiceServer
	Streaming streaming.Runtime
	// TLS has the serving certificate and, in ClientCAs, the authority.
	TLS      *tls.Config
	NodeName string
	Started  time.Time
	Log      *slog.Logger
}

// Server is the node API.
type Server struct {
	deps Deps
	http *http.Server
}

// AdminGroup is the group whose members may use the node API.
const AdminGroup = "system:masters"

// New makes the server; Serve runs it.
func New(deps Deps) *Server {
	s := &Server{deps: deps}
	s.http = &http.Server{
		Handler:           s.guard(s.routes()),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(deps.Log.Handler(), slog.LevelDebug),
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // upgrades need HTTP/1.1
	}
	return s
}

// Serve answers on the listener until Stop.
func (s *Server) Serve(l net.Listener) error {
	config := s.deps.TLS.Clone()
	config.ClientAuth = tls.VerifyClientCertIfGiven // who gives none gets a 401 in words
	config.MinVersion = tls.VersionTLS12
	config.NextProtos = []string{"http/1.1"}
	err := s.http.Serve(tls.NewListener(l, config))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving node API: %w", err)
}

// Stop ends the server and its streams.
func (s *Server) Stop() error { return s.http.Close() }

// guard lets only administrators with a verified certificate pass.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cert := verified(r)
		switch {
		case cert == nil:
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
		case !slices.Contains(cert.Subject.Organization, AdminGroup):
			http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, path=%s)", cert.Subject.CommonName, r.Method, r.URL.Path), http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// verified is the client's certificate, if our authority signed it.
func verified(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}
