// Package proxy makes Services answer: it turns Services and EndpointSlices
// into elements of a few large shared nftables maps.
//
// # A packet's way
//
// The first packet of a connection to a service's address is looked up in a
// map that names the chain for services with as many endpoints as this one
// has; that chain draws a number below that count, looks the endpoint up in a
// second map, and changes the destination. All further packets are the
// kernel's connection tracking alone. So a packet costs the same whether there
// are ten services or ten thousand, and an endpoint more or less is a handful
// of elements. See maps.go for the maps and chains.go for the chains.
//
// # What differs from upstream's kube-proxy
//
//   - A Service with no endpoint refuses at once, also where the host has no
//     route to the service range.
//   - Node ports answer on every address of the node; on 127.0.0.1 and ::1
//     through a small listener in this process, because route_localnet is
//     never set (CVE-2020-8558).
//   - The client's address is kept wherever the answer comes back by itself.
//   - externalIPs are not honoured unless asked for (CVE-2020-8554).
//   - An endpoint may be taken out of rotation before its slice says so, see Drain.
package proxy

import (
	"context"
	"log/slog"
	"net/netip"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/record"

	"go.skiff.dev/skiff/internal/kernel/nft"
	"go.skiff.dev/skiff/internal/lifecycle"
)

// LocalService is a service of the node itself that needs no object of the
// API: the cluster's DNS. It wins over a Service with the same address and port.
type LocalService struct {
	// Name is shown in logs, for example "kube-system/kube-dns:dns".
	Name     string
	Frontend netip.AddrPort
	// Protocol is "TCP", "UDP" or "SCTP".
	Protocol string
	Backends []netip.AddrPort
}

// Deps is what a Proxy needs.
type Deps struct {
	Informers informers.SharedInformerFactory
	// Recorder, if set, gets events about Services (a node port that is taken).
	Recorder record.EventRecorder
	// NodeName selects local endpoints, NodeIP is the node's address.
	NodeName string
	NodeIP   netip.Addr
	// Table is the nftables table (family inet) of this skiff, Bridge the
	// pods' bridge.
	Table, Bridge            string
	ClusterCIDR, ServiceCIDR netip.Prefix
	// Local is asked once, when the proxy starts: the node's own servers know
	// their ports only when they listen. Optional.
	Local func() []LocalService
	// ExternalIPs honours spec.externalIPs; off by default (CVE-2020-8554).
	ExternalIPs bool
	// Needs names the components that must be ready before (lifecycle).
	Needs []string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

func (d *Deps) localServices() []LocalService {
	if d.Local == nil {
		return nil
	}
	return d.Local()
}

// Proxy is the node's service proxy.
type Proxy struct {
	deps   Deps
	log    *slog.Logger
	view   *view
	relays *relays
}

// New makes a Proxy. It registers its informers; the factory is started by the caller.
func New(deps Deps) *Proxy {
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	p := &Proxy{deps: deps, log: deps.Log}
	p.view = newView(deps.Informers)
	p.relays = newRelays(deps.Log, p.portTaken)
	return p
}

// Component runs the proxy; it is ready when the rules for all known Services
// are in the kernel. The rules stay when it stops.
func (p *Proxy) Component() lifecycle.Component {
	return lifecycle.Component{Name: "proxy", Needs: p.deps.Needs, Run: p.run}
}

// Teardown removes the proxy's chains and maps, also those of a former process.
func (p *Proxy) Teardown() error {
	c, err := nft.Open(p.deps.Table)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return clearRules(c, p.deps)
}

// Drain takes the endpoints with this address out of rotation at once, without
// waiting for the EndpointSlice to say so, and returns when the kernel knows.
// The node agent calls it before it terminates a pod, so that a rolling update
// loses no connection. An endpoint that is the last one of its service keeps
// getting connections, as an endpoint that is terminating does.
func (p *Proxy) Drain(ctx context.Context, addr netip.Addr) error {
	done := p.view.drain(addr)
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
