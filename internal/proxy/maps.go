package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/nftables/expr"

	"go.skiff.dev/skiff/internal/kernel/nft"
)

// The maps, once per IP family. A frontend is an address, protocol and port;
// or protocol and port alone for a node port, which is on all addresses of the
// node.
//
//	services   frontend -> chain that picks among that many endpoints
//	endpoints  frontend . index -> endpoint
//	affinity   frontend . client -> index, written by packets
//	refused    frontend without endpoints -> chain that refuses
//	hairpin    endpoint . same endpoint, to know who talks to itself
//	remote     endpoint that is no pod, to know whose answers need a way back
//
// The number of endpoints is in the chain's name because the kernel's random
// number generator takes its limit from the rule: all services with three
// endpoints share one chain. No key is made of what another map gave: the nft
// program cannot print such a rule, and aborts on the whole ruleset.
const (
	mapServices  = "services"
	mapNodePorts = "nodeports"
	mapEndpoints = "endpoints"
	mapNodeEnds  = "nodeport-endpoints"
	mapAffinity  = "affinity"
	mapRefused   = "refused"
	mapNodeRefus = "nodeport-refused"
	mapHairpin   = "hairpin"
	mapRemote    = "remote"
)

// maxAffinity bounds the memory that clients can make the affinity map take.
const maxAffinity = 1 << 16

// family is one IP family's set of maps.
type family struct {
	v6   bool
	addr nft.Type
}

func families() []family { return []family{{false, nft.Addr4}, {true, nft.Addr6}} }

func familyOf(a netip.Addr) family { return families()[btoi(a.Is6())] }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (f family) suffix() string {
	if f.v6 {
		return "6"
	}
	return "4"
}

// mapOf defines a map by its kind.
func (f family) mapOf(kind string) nft.Map {
	front := []nft.Type{f.addr, nft.Proto, nft.Port}
	port := []nft.Type{nft.Proto, nft.Port}
	endpoint := []nft.Type{f.addr, nft.Port}
	m := nft.Map{Name: kind + f.suffix()}
	switch kind {
	case mapServices, mapRefused:
		m.Key, m.Verdict = front, true
	case mapNodePorts, mapNodeRefus:
		m.Key, m.Verdict = port, true
	case mapEndpoints:
		m.Key, m.Data = append(front, nft.Mark), endpoint
	case mapNodeEnds:
		m.Key, m.Data = append(port, nft.Mark), endpoint
	case mapAffinity:
		m.Key, m.Data = append(front, f.addr), []nft.Type{nft.Mark}
		m.Dynamic, m.Size = true, maxAffinity
	case mapRemote:
		m.Key = front
	case mapHairpin:
		m.Key = []nft.Type{f.addr, f.addr}
	}
	return m
}

func kinds() []string {
	return []string{mapServices, mapNodePorts, mapEndpoints, mapNodeEnds, mapAffinity, mapRefused, mapNodeRefus, mapHairpin, mapRemote}
}

// allMaps lists the maps of both families.
func allMaps() []nft.Map {
	var all []nft.Map
	for _, f := range families() {
		for _, k := range kinds() {
			all = append(all, f.mapOf(k))
		}
	}
	return all
}

// The chains for frontends that have no endpoint.
const (
	chainRefuse = "refuse"
	chainDrop   = "discard" // "drop" is a word of the nft language
)

// picker is a class of services that share one chain.
type picker struct {
	v6        bool
	nodePort  bool
	endpoints int
	// sticky is how long a client keeps its endpoint; zero for not at all.
	sticky time.Duration
}

const pickerPrefix = "pick-"

func (p picker) chain() string {
	name := pickerPrefix
	if p.nodePort {
		name += "node-"
	}
	name += fmt.Sprintf("%s-of-%d", families()[btoi(p.v6)].suffix(), p.endpoints)
	if p.sticky > 0 {
		name += fmt.Sprintf("-sticky-%d", int(p.sticky/time.Second))
	}
	return name
}

// isPicker reports whether a chain is some picker's.
func isPicker(chain string) bool { return strings.HasPrefix(chain, pickerPrefix) }

// front and client are the sizes, in registers, of a frontend and an address.
func (f family) front() nft.Reg { return f.client() + 2 }
func (f family) client() nft.Reg {
	if f.v6 {
		return 4
	}
	return 1
}

// rules are the picker's rules: a client that is remembered, then a random
// endpoint.
func (p picker) rules() []nft.Rule {
	random := nft.RandomBelow(uint32(p.endpoints), p.indexReg())
	if p.sticky == 0 {
		return []nft.Rule{{Exprs: nft.Build(p.family().match(), p.loadKey(), random, p.lead())}}
	}
	return []nft.Rule{
		{Exprs: nft.Build(p.family().match(), p.loadClient(), nft.Find(p.family().mapOf(mapAffinity), 0, 0), p.keep())},
		{Exprs: nft.Build(p.family().match(), nft.RandomBelow(uint32(p.endpoints), 0), p.keep())},
	}
}

func (p picker) family() family { return families()[btoi(p.v6)] }

// loadKey loads the key of the endpoints but for the index, which follows.
func (p picker) loadKey() []expr.Any {
	if p.nodePort {
		return nft.Build(nft.L4Proto(0), nft.Dport(1))
	}
	return p.family().loadFrontend()
}

func (p picker) indexReg() nft.Reg {
	if p.nodePort {
		return 2
	}
	return p.family().front()
}

// lead changes the destination to the endpoint whose key is loaded.
func (p picker) lead() []expr.Any {
	kind := mapEndpoints
	if p.nodePort {
		kind = mapNodeEnds
	}
	return nft.Build(nft.Find(p.family().mapOf(kind), 0, 0), nft.DNAT(p.v6, 0, p.family().client()))
}

// loadClient loads the key of the affinity map.
func (p picker) loadClient() []expr.Any {
	return nft.Build(p.family().loadFrontend(), nft.Saddr(p.family().front(), p.v6))
}

// keep remembers the index in register 0 for the client, and leads there. The
// index is needed twice, and what a map gave cannot be part of a key; so it is
// put down in the packet's priority, which the kernel sets anew when it
// forwards the packet, and which only orders packets in a queue otherwise.
func (p picker) keep() []expr.Any {
	f := p.family()
	data := f.front() + f.client()
	return nft.Build(nft.SetPriority(0),
		p.loadClient(), nft.Priority(data), nft.Remember(f.mapOf(mapAffinity), 0, data, p.sticky),
		p.loadKey(), nft.Priority(p.indexReg()), p.lead())
}

// loadFrontend loads destination address, protocol and port from register 0.
func (f family) loadFrontend() []expr.Any {
	after := nft.Reg(1)
	if f.v6 {
		after = 4
	}
	return nft.Build(nft.Daddr(0, f.v6), nft.L4Proto(after), nft.Dport(after+1))
}

func (f family) match() []expr.Any {
	if f.v6 {
		return nft.IPv6()
	}
	return nft.IPv4()
}
