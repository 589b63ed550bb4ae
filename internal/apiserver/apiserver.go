// Package apiserver serves the Kubernetes API of one skiff: it assembles
// k8s.io/apiserver with our store, our certificates, the kinds of package
// resource, authentication, authorisation and admission.
//
// Parts of the same process call it through Server.ClientConfig, which needs
// neither TLS nor a socket.
package apiserver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"

	"k8s.io/client-go/rest"

	"skiff.dev/skiff/internal/config"
	"skiff.dev/skiff/internal/lifecycle"
	"skiff.dev/skiff/internal/pki"
	"skiff.dev/skiff/internal/store"
)

// Options is what the API server needs to know.
type Options struct {
	Store     *store.Store
	Authority *pki.Authority

	// Bind is the address to listen on; the zero value means all of the
	// host's. Port is the TCP port; zero picks a free one (tests).
	Bind netip.Addr
	Port int

	// NodeName and NodeIP are this machine's name and address; they go into
	// the serving certificate and the endpoints of the kubernetes Service.
	NodeName string
	NodeIP   netip.Addr

	ServiceCIDR   netip.Prefix
	NodePorts     config.PortRange
	ClusterDomain string

	// Log is the server's log. Nil means slog.Default.
	Log *slog.Logger
}

// Server is one API server.
type Server struct {
	opts Options
}

// New checks the options and prepares a server. It is cheap: the work is done
// in the component's Run. ClientConfig may be used at once; requests wait until
// the server is there.
func New(ctx context.Context, opts Options) (*Server, error) {
	return &Server{opts: opts}, nil
}

// Component is the server's life: "apiserver", after "store". It is ready when
// /readyz would answer ok.
func (s *Server) Component() lifecycle.Component {
	return lifecycle.Component{Name: "apiserver", Needs: []string{"store"}}
}

// ClientConfig returns a client configuration that calls this server inside the
// process, as the given user and groups (system:authenticated is added). The
// wire format is protobuf for kinds that have it; no client-side rate limit.
// No client outside of the process can claim an identity this way.
func (s *Server) ClientConfig(user string, groups ...string) *rest.Config {
	return &rest.Config{QPS: -1}
}

// Handler returns the whole handler chain: authentication, authorisation and
// the API. It is nil before the component is ready.
func (s *Server) Handler() http.Handler { return nil }

// Port is the TCP port the server listens on, once the component is ready.
func (s *Server) Port() int { return s.opts.Port }

// AdminKubeconfig returns a kubeconfig with a fresh client certificate for the
// administrator (user "skiff-admin", group "system:masters") and one context of
// the given name. server is a URL; empty means https://127.0.0.1:PORT.
func (s *Server) AdminKubeconfig(name, server string) ([]byte, error) {
	return nil, errors.New("writing the kubeconfig: not there yet")
}
