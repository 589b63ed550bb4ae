package proxy

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/nft"
)

// Priorities around those that the kernel names (linux/netfilter_ipv4.h):
// destinations change at dstnat, and what then still goes to a service address
// has no endpoint and is refused.
const (
	priorityDNAT   = -100
	priorityRefuse = -90
	prioritySNAT   = 100
)

// staticChains are the chains that do not depend on any service.
func staticChains(d Deps) []nft.Chain {
	return []nft.Chain{
		{Name: chainRefuse, Rules: []nft.Rule{
			{Exprs: nft.Build(nft.ProtoIs(unix.IPPROTO_TCP), nft.RejectTCP())},
			{Exprs: nft.RejectPort()},
		}},
		{Name: chainDrop, Rules: []nft.Rule{{Exprs: nft.Drop()}}},
		{Name: "services-prerouting", Hook: nft.Prerouting, Type: nft.NAT, Priority: priorityDNAT, Rules: dispatch(false)},
		{Name: "services-output", Hook: nft.Output, Type: nft.NAT, Priority: priorityDNAT, Rules: dispatch(true)},
		{Name: "services-refuse-prerouting", Hook: nft.Prerouting, Type: nft.Filter, Priority: priorityRefuse, Rules: refusals(d)},
		{Name: "services-refuse-output", Hook: nft.Output, Type: nft.Filter, Priority: priorityRefuse, Rules: refusals(d)},
		{Name: "services-postrouting", Hook: nft.Postrouting, Type: nft.NAT, Priority: prioritySNAT, Rules: sources(d)},
	}
}

func loopback(f family) netip.Prefix {
	if f.v6 {
		return netip.MustParsePrefix("::1/128")
	}
	return netip.MustParsePrefix("127.0.0.0/8")
}

// dispatch sends the first packet of a connection to the chain that picks an
// endpoint. Packets of the host itself to its loopback are left to the
// userspace listener: without route_localnet they could not leave the host.
func dispatch(output bool) []nft.Rule {
	var rules []nft.Rule
	for _, f := range families() {
		rules = append(rules, nft.Rule{Exprs: nft.Build(f.match(), f.loadFrontend(), nft.GotoFound(f.mapOf(mapServices), 0))})
		if output {
			rules = append(rules, nft.Rule{Exprs: nft.Build(f.match(), nft.DaddrIn(loopback(f), true), nft.Accept())})
		}
		rules = append(rules, nft.Rule{Exprs: nft.Build(f.match(), nft.DaddrLocal(),
			nft.L4Proto(0), nft.Dport(1), nft.GotoFound(f.mapOf(mapNodePorts), 0))})
	}
	return rules
}

// refusals answer at once for what no endpoint serves.
func refusals(d Deps) []nft.Rule {
	var rules []nft.Rule
	for _, f := range families() {
		if d.ServiceCIDR.IsValid() && d.ServiceCIDR.Addr().Is6() == f.v6 {
			rules = append(rules, nft.Rule{Exprs: nft.Build(f.match(), nft.DaddrIn(d.ServiceCIDR, true), nft.NewConnection(), nft.Goto(chainRefuse)),
				Comment: "no service, or none of its endpoints is ready"})
		}
		rules = append(rules,
			nft.Rule{Exprs: nft.Build(f.match(), nft.NewConnection(), f.loadFrontend(), nft.GotoFound(f.mapOf(mapRefused), 0))},
			nft.Rule{Exprs: nft.Build(f.match(), nft.NewConnection(), nft.DaddrLocal(),
				nft.L4Proto(0), nft.Dport(1), nft.GotoFound(f.mapOf(mapNodeRefus), 0))})
	}
	return rules
}

// sources change the source where an answer would not come back through this
// node otherwise. All other packets keep their client's address.
func sources(d Deps) []nft.Rule {
	var rules []nft.Rule
	for _, f := range families() {
		after := nft.Reg(1)
		if f.v6 {
			after = 4
		}
		rules = append(rules,
			nft.Rule{Exprs: nft.Build(f.match(), nft.DestinationNATed(), nft.Saddr(0, f.v6), nft.Daddr(after, f.v6),
				nft.Find(f.mapOf(mapHairpin), 0, 0), nft.Masquerade()),
				Comment: "a pod that reaches itself through its service"})
		remote := nft.Build(nft.Oif(d.Bridge, false), f.match(), nft.DestinationNATed(), f.loadFrontend(), nft.Find(f.mapOf(mapRemote), 0, 0))
		if d.ClusterCIDR.IsValid() && d.ClusterCIDR.Addr().Is6() == f.v6 {
			remote = nft.Build(remote, nft.SaddrIn(d.ClusterCIDR, false))
		}
		rules = append(rules, nft.Rule{Exprs: nft.Build(remote, nft.Masquerade()),
			Comment: "a client from outside to an endpoint outside"})
	}
	return rules
}
