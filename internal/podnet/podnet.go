// Package podnet gives each pod its network: one bridge per skiff, a veth pair
// into the pod's network namespace, an address, routes, and host ports.
//
// # How a packet travels
//
// A pod's address is a /32, and its only route leads to the bridge's own
// address. So each packet of a pod passes the node's IP layer exactly once,
// also one between two pods of the same node: the node's rules (services,
// policies) see both directions, whatever net.bridge.bridge-nf-call-iptables
// says on the machine. The bridge never floods: its forwarding table and the
// node's neighbour table are written when the pod is attached, so a pod can be
// reached as soon as Attach returns and no ARP request is ever broadcast.
//
// # What it changes on the host, and how that is undone
//
//   - one bridge, and one veth per pod, whose names carry this skiff's prefix;
//   - chains in the one nftables table of this skiff (the table is shared with
//     package proxy); nobody else's rules are read for more than a warning;
//   - the sysctl net.ipv4.ip_forward, recorded with its old value in a ledger
//     that all skiffs of the machine share: the last one restores it;
//   - files in StateDir.
//
// Teardown removes all of it. route_localnet and rp_filter are never touched.
package podnet

import (
	"log/slog"
	"net/netip"
)

// DefaultLedger is the machine-wide list of sysctl values that skiffs changed.
// It lies on a tmpfs: a reboot forgets it together with the values.
const DefaultLedger = "/run/skiff-host.json"

// Options say what a Network is called and which addresses are its own.
type Options struct {
	// Name of this skiff, its entry in the ledger.
	Name string
	// Bridge is the name of the bridge, LinkPrefix starts the names of the
	// host's ends of the veth pairs (at most 5 bytes), Table names the
	// nftables table of family inet.
	Bridge, LinkPrefix, Table string
	// PodCIDR is the range of this node's pods; its first address is the
	// gateway. ClusterCIDR is the range of all nodes' pods (default PodCIDR),
	// ServiceCIDR that of the services: traffic to them is not masqueraded.
	PodCIDR, ClusterCIDR, ServiceCIDR netip.Prefix
	// NodeIP is the node's own address.
	NodeIP netip.Addr
	// StateDir holds what is known about attached pods.
	StateDir string
	// Ledger defaults to DefaultLedger.
	Ledger string
	// MTU of the pods' links; zero takes the MTU of the default route's link.
	MTU int
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// PortMapping makes a port of the host lead to a port of the pod.
type PortMapping struct {
	// HostIP limits the mapping to one address of the host; the zero value
	// and the unspecified address mean all of them.
	HostIP                  netip.Addr `json:"hostIP,omitzero"`
	HostPort, ContainerPort uint16
	// Protocol is "TCP" (or empty), "UDP" or "SCTP".
	Protocol string
}

// AttachOptions are the wishes of one pod.
type AttachOptions struct {
	PortMappings []PortMapping
	// Hostname is only noted in the state, for people who read it.
	Hostname string
}

// Attachment is what a pod got.
type Attachment struct {
	// IPs are the pod's addresses, the primary one first.
	IPs []netip.Addr `json:"ips"`
	// HostInterface is the name of the host's end of the veth pair, Interface
	// that of the pod's end.
	HostInterface string     `json:"hostInterface"`
	Interface     string     `json:"interface"`
	MAC           string     `json:"mac"`
	Gateway       netip.Addr `json:"gateway"`
	MTU           int        `json:"mtu"`
}
