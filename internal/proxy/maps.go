package proxy

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/nftables/expr"

	"skiff.dev/skiff/internal/kernel/nft"
)

// The maps, once per IP family. A frontend is an address, protocol and port;
// or protocol and port alone for a node port, which is on all addresses of the
// node. A pool is a set of endpoints, known by a number.
//
//	services   frontend -> chain that picks among that many endpoints
//	pools      frontend -> pool
//	endpoints  pool . index -> endpoint
//	affinity   pool . client -> endpoint, written by packets
//	refused    frontend without endpoints -> chain that refuses
//	hairpin    endpoint . same endpoint, to know who talks to itself
//	remote     endpoint that is no pod, to know whose answers need a way back
//
// The number of endpoints is in the chain's name because the kernel's random
// number generator takes its limit from the rule: all services with three
// endpoints share one chain.
const (
	mapServices  = "services"
	mapNodePorts = "nodeports"
	mapPools     = "pools"
	mapNodePools = "nodeport-pools"
	mapEndpoints = "endpoints"
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
	case mapPools:
		m.Key, m.Data = front, []nft.Type{nft.ID}
	case mapNodePools:
		m.Key, m.Data = port, []nft.Type{nft.ID}
	case mapEndpoints:
		m.Key, m.Data = []nft.Type{nft.ID, nft.Mark}, endpoint
	case mapAffinity:
		m.Key, m.Data = []nft.Type{nft.ID, f.addr}, endpoint
		m.Dynamic, m.Size = true, maxAffinity
	case mapRemote:
		m.Key = front
	case mapHairpin:
		m.Key = []nft.Type{f.addr, f.addr}
	}
	return m
}

func kinds() []string {
	return []string{mapServices, mapNodePorts, mapPools, mapNodePools, mapEndpoints, mapAffinity, mapRefused, mapNodeRefus, mapHairpin, mapRemote}
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
	chainDrop   = "drop"
)

// picker is a class of services that share one chain.
type picker struct {
	v6        bool
	endpoints int
	// sticky is how long a client keeps its endpoint; zero for not at all.
	sticky time.Duration
}

const pickerPrefix = "pick-"

func (p picker) chain() string {
	name := fmt.Sprintf("%s%s-of-%d", pickerPrefix, families()[btoi(p.v6)].suffix(), p.endpoints)
	if p.sticky > 0 {
		name += fmt.Sprintf("-sticky-%d", int(p.sticky/time.Second))
	}
	return name
}

// isPicker reports whether a chain is some picker's.
func isPicker(chain string) bool { return strings.HasPrefix(chain, pickerPrefix) }

// Registers: the key of each lookup starts at 0, the endpoint lies from 8.
const (
	regKey      nft.Reg = 0
	regIndex    nft.Reg = 2 // after the pool
	regEndpoint nft.Reg = 8
)

// rules are the picker's rules: a client that is remembered, then a random
// endpoint; each for a frontend with an address, then for a node port.
func (p picker) rules() []nft.Rule {
	f := families()[btoi(p.v6)]
	port := regEndpoint + 1
	if p.v6 {
		port = regEndpoint + 4
	}
	dnat := nft.DNAT(p.v6, regEndpoint, port)
	pools := [][]expr.Any{
		nft.Build(f.loadFrontend(), nft.Find(f.mapOf(mapPools), regKey, regKey)),
		nft.Build(nft.L4Proto(0), nft.Dport(1), nft.Find(f.mapOf(mapNodePools), regKey, regKey)),
	}
	client := nft.Saddr(regIndex, p.v6)
	affinity := f.mapOf(mapAffinity)
	remember := nft.Build(client, nft.Remember(affinity, regKey, regEndpoint, p.sticky))
	var rules []nft.Rule
	for _, pool := range pools {
		if p.sticky > 0 {
			rules = append(rules, nft.Rule{Exprs: nft.Build(pool, client, nft.Find(affinity, regKey, regEndpoint), remember, dnat)})
		}
		pick := nft.Build(pool, nft.RandomBelow(uint32(p.endpoints), regIndex), nft.Find(f.mapOf(mapEndpoints), regKey, regEndpoint))
		if p.sticky > 0 {
			pick = nft.Build(pick, remember)
		}
		rules = append(rules, nft.Rule{Exprs: nft.Build(pick, dnat)})
	}
	return rules
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
