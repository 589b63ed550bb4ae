package proxy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"go.skiff.dev/skiff/internal/kernel/nft"
)

// element is one element of one map.
type element struct {
	kind string // of the map, see mapServices and so on
	v6   bool
	key  string
}

// pool is an ordered set of endpoints that frontends share; the position of
// one is its index in the endpoints maps.
type pool struct {
	id     uint64
	v6     bool
	proto  uint8
	sticky time.Duration
	slots  []netip.AddrPort
}

// localPort is a node port that also answers on the host's loopback.
type localPort struct {
	proto uint8
	port  uint16
	pool  *pool
}

// ruleset is all that one Service puts into the kernel.
type ruleset struct {
	elements   map[element]string
	pickers    map[picker]bool
	pools      []*pool
	localPorts []localPort
}

// slots remembers the order of each pool's endpoints from one plan to the
// next: an endpoint that stays keeps its index.
type slots map[uint64][]netip.AddrPort

// planner turns one Service and its EndpointSlices into a ruleset. It is pure:
// the same input gives the same rules.
type planner struct {
	nodeName    string
	externalIPs bool
	pods        netip.Prefix // the range of all nodes' pods
	// draining tells which addresses are leaving, before their slices say so.
	draining func(netip.Addr) bool
}

// frontend is where clients go to.
type frontend struct {
	addr  netip.Addr // invalid for a node port
	port  uint16
	local bool // traffic from outside under externalTrafficPolicy Local
}

func (p planner) plan(svc *corev1.Service, eps []*discoveryv1.EndpointSlice, before slots) *ruleset {
	rs := &ruleset{elements: map[element]string{}, pickers: map[picker]bool{}}
	if svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Spec.ClusterIP == corev1.ClusterIPNone || svc.Spec.ClusterIP == "" || othersService(svc) {
		return rs
	}
	for _, family := range families() {
		for i := range svc.Spec.Ports {
			p.planPort(rs, svc, &svc.Spec.Ports[i], eps, family, before)
		}
	}
	return rs
}

// othersService tells whether the Service's labels leave it to another proxy, or
// to none, as kube-proxy does.
func othersService(svc *corev1.Service) bool {
	_, another := svc.Labels["service.kubernetes.io/service-proxy-name"]
	_, none := svc.Labels[corev1.IsHeadlessService]
	return another || none
}

func (p planner) planPort(rs *ruleset, svc *corev1.Service, port *corev1.ServicePort,
	eps []*discoveryv1.EndpointSlice, f family, before slots) {
	proto, ok := protocolNumber(port.Protocol)
	if !ok || !hasFamily(svc, f) {
		return
	}
	candidates := p.candidates(port.Name, eps, f)
	everywhere := usable(candidates, func(candidate) bool { return true })
	onNode := usable(candidates, func(c candidate) bool { return c.local })

	inside, outside := everywhere, everywhere
	if svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal {
		inside = onNode
	}
	localOnly := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	if localOnly {
		outside = onNode
	}
	name := fmt.Sprintf("%s/%s:%s/%s", svc.Namespace, svc.Name, port.Name, port.Protocol)
	newPool := func(scope string, endpoints []netip.AddrPort) *pool {
		pl := &pool{id: poolID(name + scope), v6: f.v6, proto: proto, sticky: stickiness(svc)}
		pl.slots = arrange(before[pl.id], endpoints)
		rs.pools = append(rs.pools, pl)
		return pl
	}
	internal := newPool(familyScope(f, "internal"), inside)
	external := internal
	if localOnly || !slices.Equal(inside, outside) {
		external = newPool(familyScope(f, "external"), outside)
	}
	for _, front := range p.frontends(svc, port, f) {
		pl, refusal := internal, chainRefuse
		if front.local {
			pl = external
			if len(everywhere) > 0 {
				refusal = chainDrop // other nodes have endpoints: a client should try them
			}
		}
		rs.add(f, front, pl, refusal)
		rs.addEndpoints(f, front, pl, p.pods)
		if !front.addr.IsValid() {
			rs.localPorts = append(rs.localPorts, localPort{proto: proto, port: front.port, pool: pl})
		}
	}
}

func familyScope(f family, scope string) string { return "/" + scope + f.suffix() }

// frontends lists where the port answers.
func (p planner) frontends(svc *corev1.Service, port *corev1.ServicePort, f family) []frontend {
	var fronts []frontend
	add := func(texts []string, local bool) {
		for _, text := range texts {
			if a, err := netip.ParseAddr(text); err == nil && a.Is6() == f.v6 {
				fronts = append(fronts, frontend{addr: a, port: uint16(port.Port), local: local})
			}
		}
	}
	clusterIPs := svc.Spec.ClusterIPs
	if len(clusterIPs) == 0 {
		clusterIPs = []string{svc.Spec.ClusterIP}
	}
	add(clusterIPs, false)
	if p.externalIPs {
		add(svc.Spec.ExternalIPs, true)
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		// Mode Proxy: the balancer changes the destination itself (KEP-1860).
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			add([]string{in.IP}, true)
		}
	}
	if port.NodePort != 0 {
		fronts = append(fronts, frontend{port: uint16(port.NodePort), local: true})
	}
	return fronts
}

// add puts a frontend into the maps.
func (rs *ruleset) add(f family, front frontend, pl *pool, refusal string) {
	services, refused := mapServices, mapRefused
	if !front.addr.IsValid() {
		services, refused = mapNodePorts, mapNodeRefus
	}
	k := string(front.key(pl.proto))
	if len(pl.slots) == 0 {
		rs.elements[element{refused, f.v6, k}] = refusal
		return
	}
	pick := picker{v6: f.v6, nodePort: !front.addr.IsValid(), endpoints: len(pl.slots), sticky: pl.sticky}
	rs.pickers[pick] = true
	rs.elements[element{services, f.v6, k}] = pick.chain()
}

// key is the frontend in the maps.
func (front frontend) key(proto uint8) nft.Key {
	key := nft.Key{}
	if front.addr.IsValid() {
		key = key.Addr(front.addr)
	}
	return key.Proto(proto).Port(front.port)
}

// addEndpoints puts the pool's endpoints into the maps, for one frontend.
func (rs *ruleset) addEndpoints(f family, front frontend, pl *pool, pods netip.Prefix) {
	kind := mapEndpoints
	if !front.addr.IsValid() {
		kind = mapNodeEnds
	}
	for i, ep := range pl.slots {
		a := ep.Addr()
		rs.elements[element{kind, f.v6, string(front.key(pl.proto).Mark(uint32(i)))}] = string(nft.Key{}.Addr(a).Port(ep.Port()))
		if pods.Contains(a) {
			rs.elements[element{mapHairpin, f.v6, string(nft.Key{}.Addr(a).Addr(a))}] = ""
		} else {
			rs.elements[element{mapRemote, f.v6, string(nft.Key{}.Addr(a).Proto(pl.proto).Port(ep.Port()))}] = ""
		}
	}
}

// candidate is an endpoint with what its slice says of it.
type candidate struct {
	addr                        netip.AddrPort
	ready, serving, terminating bool
	local                       bool
}

// candidates lists the endpoints of a named port. The same address may be in
// two slices for a moment; the better word counts.
func (p planner) candidates(portName string, eps []*discoveryv1.EndpointSlice, f family) []candidate {
	seen := map[netip.AddrPort]candidate{}
	for _, s := range eps {
		if (s.AddressType == discoveryv1.AddressTypeIPv6) != f.v6 || s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for _, sp := range s.Ports {
			if deref(sp.Name, "") != portName || sp.Port == nil {
				continue
			}
			for i := range s.Endpoints {
				p.candidate(seen, &s.Endpoints[i], uint16(*sp.Port))
			}
		}
	}
	list := make([]candidate, 0, len(seen))
	for _, c := range seen {
		list = append(list, c)
	}
	slices.SortFunc(list, byAddress)
	return list
}

func (p planner) candidate(seen map[netip.AddrPort]candidate, e *discoveryv1.Endpoint, port uint16) {
	ready := deref(e.Conditions.Ready, true) // nil means ready, by the API
	local := e.NodeName == nil || *e.NodeName == p.nodeName
	for _, text := range e.Addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		c := candidate{addr: netip.AddrPortFrom(a, port), local: local,
			ready: ready, serving: deref(e.Conditions.Serving, ready), terminating: deref(e.Conditions.Terminating, false)}
		if p.draining != nil && p.draining(a) {
			c.ready, c.terminating = false, true
		}
		old, dup := seen[c.addr]
		c.ready = c.ready || dup && old.ready
		c.serving = c.serving || dup && old.serving
		seen[c.addr] = c
	}
}

// usable returns the ready endpoints; without any, those that end but still
// serve, rather than none (KEP-1669).
func usable(all []candidate, want func(candidate) bool) []netip.AddrPort {
	var ready, ending []netip.AddrPort
	for _, c := range all {
		switch {
		case !want(c):
		case c.ready:
			ready = append(ready, c.addr)
		case c.serving && c.terminating:
			ending = append(ending, c.addr)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return ending
}

// arrange orders endpoints so that those that were there keep their place;
// gaps are filled with new ones, then from the end. One endpoint more or less
// changes one or two places.
func arrange(before, want []netip.AddrPort) []netip.AddrPort {
	missing := map[netip.AddrPort]bool{}
	for _, ep := range want {
		missing[ep] = true
	}
	placed := make([]netip.AddrPort, len(want))
	var late []netip.AddrPort // stay, but their place is past the new end
	for i, ep := range before {
		if !missing[ep] {
			continue
		}
		delete(missing, ep)
		if i < len(placed) {
			placed[i] = ep
		} else {
			late = append(late, ep)
		}
	}
	for _, ep := range want {
		if missing[ep] {
			late = append(late, ep)
		}
	}
	for i := range placed {
		if !placed[i].IsValid() {
			placed[i], late = late[0], late[1:]
		}
	}
	return placed
}

// poolID numbers a pool, by a digest of its name.
func poolID(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint64(sum[:])
}

func stickiness(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := int32(corev1.DefaultClientIPServiceAffinitySeconds)
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

func hasFamily(svc *corev1.Service, f family) bool {
	want := corev1.IPv4Protocol
	if f.v6 {
		want = corev1.IPv6Protocol
	}
	if len(svc.Spec.IPFamilies) > 0 {
		return slices.Contains(svc.Spec.IPFamilies, want)
	}
	a, err := netip.ParseAddr(svc.Spec.ClusterIP)
	return err == nil && a.Is6() == f.v6
}

func protocolNumber(p corev1.Protocol) (uint8, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return unix.IPPROTO_TCP, true
	case corev1.ProtocolUDP:
		return unix.IPPROTO_UDP, true
	case corev1.ProtocolSCTP:
		return unix.IPPROTO_SCTP, true
	default:
		return 0, false
	}
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func byAddress(a, b candidate) int {
	return cmp.Or(a.addr.Addr().Compare(b.addr.Addr()), cmp.Compare(a.addr.Port(), b.addr.Port()))
}
