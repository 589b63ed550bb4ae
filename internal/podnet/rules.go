package podnet

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/nft"
)

// Maps of the host ports: on all of the node's addresses, on one of them, and
// the pods that may meet themselves through such a port.
func portMap() nft.Map {
	return nft.Map{Name: "hostports", Key: []nft.Type{nft.Proto, nft.Port}, Data: []nft.Type{nft.Addr4, nft.Port}}
}

func addrPortMap() nft.Map {
	return nft.Map{Name: "hostports-addr", Key: []nft.Type{nft.Addr4, nft.Proto, nft.Port}, Data: []nft.Type{nft.Addr4, nft.Port}}
}

func hairpinSet() nft.Map {
	return nft.Map{Name: "hostports-hairpin", Key: []nft.Type{nft.Addr4, nft.Addr4}}
}

func maps() []nft.Map { return []nft.Map{portMap(), addrPortMap(), hairpinSet()} }

// Priorities next to those that the kernel names (linux/netfilter_ipv4.h):
// host ports come just before services, which are at dstnat (-100).
const (
	priorityGuard  = -300 // raw
	priorityDNAT   = -101
	priorityFilter = 0
	prioritySNAT   = 100
)

// chains are the pods' own chains of the table.
func chains(o Options) []nft.Chain {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	v4 := nft.IPv4()
	hostPorts := []nft.Rule{
		{Exprs: nft.Build(v4, nft.Daddr(0, false), nft.L4Proto(1), nft.Dport(2), nft.Find(addrPortMap(), 0, 4), nft.DNAT(false, 4, 5))},
		{Exprs: nft.Build(v4, nft.DaddrLocal(), nft.L4Proto(0), nft.Dport(1), nft.Find(portMap(), 0, 4), nft.DNAT(false, 4, 5))},
	}
	skipLoopback := nft.Rule{Exprs: nft.Build(v4, nft.DaddrIn(loopback, true), nft.Accept()),
		Comment: "a packet from 127.0.0.1 cannot leave the host"}
	return []nft.Chain{
		{Name: "pods-guard", Hook: nft.Prerouting, Type: nft.Filter, Priority: priorityGuard, Rules: []nft.Rule{
			{Exprs: nft.Build(nft.Iif(o.Bridge, true), v4, nft.DaddrIn(loopback, true), nft.Drop()),
				Comment: "pods do not reach the host's loopback, whatever route_localnet says"},
			{Exprs: nft.Build(nft.Iif(o.Bridge, true), v4, nft.SaddrIn(o.PodCIDR, false), nft.Drop()),
				Comment: "pods have addresses of their range"},
		}},
		{Name: "pods-prerouting", Hook: nft.Prerouting, Type: nft.NAT, Priority: priorityDNAT, Rules: hostPorts},
		{Name: "pods-output", Hook: nft.Output, Type: nft.NAT, Priority: priorityDNAT, Rules: append([]nft.Rule{skipLoopback}, hostPorts...)},
		{Name: "pods-forward", Hook: nft.Forward, Type: nft.Filter, Priority: priorityFilter, Rules: []nft.Rule{
			{Exprs: nft.Build(nft.Iif(o.Bridge, true), nft.Accept())},
			{Exprs: nft.Build(nft.Oif(o.Bridge, true), nft.Accept())},
		}},
		{Name: "pods-redirects", Hook: nft.Output, Type: nft.Filter, Priority: priorityFilter, Rules: []nft.Rule{
			{Exprs: nft.Build(nft.Oif(o.Bridge, true), v4, nft.ProtoIs(unix.IPPROTO_ICMP), nft.ICMPTypeIs(icmpRedirect), nft.Drop()),
				Comment: "pods of one bridge talk through the node, not past it"},
		}},
		{Name: "pods-postrouting", Hook: nft.Postrouting, Type: nft.NAT, Priority: prioritySNAT, Rules: masquerade(o)},
	}
}

const icmpRedirect = 5

func masquerade(o Options) []nft.Rule {
	v4, out := nft.IPv4(), nft.Oif(o.Bridge, false)
	return []nft.Rule{
		{Exprs: nft.Build(v4, nft.DestinationNATed(), nft.Saddr(0, false), nft.Daddr(1, false), nft.Find(hairpinSet(), 0, 0), nft.Masquerade()),
			Comment: "a pod that reaches itself through a host port"},
		{Exprs: nft.Build(out, v4, nft.SaddrIn(o.PodCIDR, true), nft.DaddrIn(o.ClusterCIDR, false), nft.DaddrIn(o.ServiceCIDR, false), nft.Masquerade()),
			Comment: "pods to the outside"},
		{Exprs: nft.Build(out, v4, nft.DestinationNATed(), nft.DaddrIn(o.ClusterCIDR, true), nft.SaddrIn(o.ClusterCIDR, false), nft.Masquerade()),
			Comment: "the outside to pods of other nodes: the answer must come back here"},
	}
}

// hostPortElements are the elements of one pod.
func hostPortElements(addr netip.Addr, mappings []PortMapping) map[string][]nft.Element {
	elements := map[string][]nft.Element{}
	for _, m := range mappings {
		data := string(nft.Key{}.Addr(addr).Port(m.ContainerPort))
		key := nft.Key{}
		name := portMap().Name
		if m.HostIP.Is4() && !m.HostIP.IsUnspecified() {
			key, name = key.Addr(m.HostIP), addrPortMap().Name
		}
		key = key.Proto(protocol(m.Protocol)).Port(m.HostPort)
		elements[name] = append(elements[name], nft.Element{Key: string(key), Data: data})
	}
	if len(mappings) > 0 {
		elements[hairpinSet().Name] = []nft.Element{{Key: string(nft.Key{}.Addr(addr).Addr(addr))}}
	}
	return elements
}

func protocol(name string) uint8 {
	switch name {
	case "UDP":
		return unix.IPPROTO_UDP
	case "SCTP":
		return unix.IPPROTO_SCTP
	default:
		return unix.IPPROTO_TCP
	}
}
