// Package dns is the cluster's DNS server: names of Services and pods from the
// informers, everything else from the host's resolvers.
//
// # How pods reach it
//
// The server runs in this process, on every node, and listens on the pods'
// gateway address: port 53, or any free one if another server of the host has
// that. The service proxy sends what comes to the DNS service's address, port
// 53, there (proxy.LocalService). So DNS needs no pod, no object of the API,
// and no address of its own on the host; a pod's resolver is on its own node.
// The Service kube-system/kube-dns reserves the address and shows it; its
// endpoints do not matter.
//
// # What it answers
//
// The zone follows the DNS-based service discovery specification, version
// 1.1.0. Names of the zone are answered from memory at once, whatever state the
// host's resolvers are in. A name that does not exist is denied with a SOA
// record, so that resolvers which walk a search path cache the denial.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"go.skiff.dev/skiff/internal/lifecycle"
)

// Deps is what a Server needs.
type Deps struct {
	Informers informers.SharedInformerFactory
	// Client publishes the Service of the cluster's DNS. Optional.
	Client kubernetes.Interface
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
	// Needs names the components that must be ready before (lifecycle).
	Needs []string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Server is the DNS server of one node.
type Server struct {
	deps     Deps
	log      *slog.Logger
	names    *names
	view     *view
	upstream *upstream

	mu     sync.Mutex
	packet net.PacketConn
	stream net.Listener
}

// New makes a Server. It registers its informers; the factory is started by the caller.
func New(deps Deps) *Server {
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	if deps.ResolvConf == "" {
		deps.ResolvConf = "/etc/resolv.conf"
	}
	s := &Server{deps: deps, log: deps.Log, names: newNames(deps.Domain, deps.ServiceCIDR, deps.ClusterCIDR)}
	s.names.set("zone", zoneRecords(s.names.domain, deps.ClusterIP))
	s.view = newView(deps.Informers, s.names)
	s.upstream = newUpstream(deps.ResolvConf, s.ourselves, deps.Log)
	return s
}

func (s *Server) ourselves(a netip.Addr) bool {
	return a == s.deps.ClusterIP || a == s.deps.Listen && s.Address().Port() == 53
}

// port is where resolvers expect a server.
const port = 53

// Listen binds the sockets, so that Address is known before the server runs.
// Calling it again does nothing.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.packet != nil {
		return nil
	}
	err := s.bind(port)
	if errors.Is(err, unix.EADDRINUSE) {
		s.log.Info("another DNS server has port 53 of the gateway address, taking a free one", "address", s.deps.Listen.String())
		// A port that is free for UDP may be taken for TCP: try a few.
		for range 8 {
			if err = s.bind(0); err == nil {
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("listening for DNS: %w", err)
	}
	return nil
}

func (s *Server) bind(port int) error {
	packet, err := net.ListenPacket("udp", net.JoinHostPort(s.deps.Listen.String(), strconv.Itoa(port)))
	if err != nil {
		return err
	}
	stream, err := net.Listen("tcp", packet.LocalAddr().String())
	if err != nil {
		return errors.Join(err, packet.Close())
	}
	s.packet, s.stream = packet, stream
	return nil
}

// Address is where the server listens, for UDP and TCP, after Listen; the
// proxy sends what comes to ClusterIP:53 there (proxy.LocalService).
func (s *Server) Address() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == nil {
		return netip.AddrPort{}
	}
	addr, ok := s.stream.Addr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(s.deps.Listen, uint16(addr.Port))
}

// Component runs the server; it is ready when it answers from synced informers.
// It calls Listen if that was not done.
func (s *Server) Component() lifecycle.Component {
	return lifecycle.Component{Name: "dns", Needs: s.deps.Needs, Run: s.run}
}

func (s *Server) run(ctx context.Context, ready func()) error {
	if err := s.Listen(); err != nil {
		return err
	}
	watching, err := watchFile(ctx, s.deps.ResolvConf, s.upstream.reload)
	if err != nil {
		// Names are still forwarded, to the resolvers as they are now.
		s.log.Warn("watching the host's resolvers for changes", "path", s.deps.ResolvConf, "error", err)
	}
	s.upstream.reload()
	if !s.view.waitSynced(ctx) {
		return errors.Join(s.packet.Close(), s.stream.Close(), ctx.Err())
	}
	err = s.serve(ctx, ready)
	if watching != nil {
		<-watching
	}
	return err
}

// serve answers until ctx ends.
func (s *Server) serve(ctx context.Context, ready func()) error {
	started := make(chan struct{}, 2)
	servers := []*dns.Server{
		{PacketConn: s.packet, Handler: s.handler(ctx, false), UDPSize: 4096},
		{Listener: s.stream, Handler: s.handler(ctx, true)},
	}
	failed := make(chan error, len(servers))
	for _, srv := range servers {
		srv.NotifyStartedFunc = func() { started <- struct{}{} }
		go func() { failed <- srv.ActivateAndServe() }()
	}
	for range servers {
		select {
		case <-started:
		case err := <-failed:
			return fmt.Errorf("serving DNS: %w", err)
		}
	}
	ready()
	if s.deps.Client != nil {
		if err := s.publish(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("the cluster's DNS works and shows no Service", "error", err)
		}
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving DNS: %w", err)
	}
	for _, srv := range servers {
		_ = srv.Shutdown() // refuses only what was never started
	}
	s.mu.Lock()
	s.packet, s.stream = nil, nil
	s.mu.Unlock()
	return err
}

func (s *Server) handler(ctx context.Context, tcp bool) dns.HandlerFunc {
	return func(w dns.ResponseWriter, req *dns.Msg) {
		resp := s.respond(ctx, req)
		fit(req, resp, tcp)
		if err := w.WriteMsg(resp); err != nil {
			s.log.Debug("answering a DNS question", "client", w.RemoteAddr().String(), "error", err)
		}
	}
}
