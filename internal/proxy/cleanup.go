package proxy

import (
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/netlink"
	"go.skiff.dev/skiff/internal/kernel/nft"
)

// cleanup remembers, between plan and after, whose clients the kernel must
// forget: UDP flows to an endpoint that is gone would go there for as long as
// the client talks, and sticky clients would come back to it.
type cleanup struct {
	before, now []*ruleset // of services with UDP ports
	gone        map[netip.AddrPort]bool
	sticky      map[string]bool // frontend and index that means another endpoint now
}

// note compares a service's rules before and after.
func (c *cleanup) note(old, rs *ruleset) {
	if old == nil {
		old = &ruleset{}
	}
	if rs == nil {
		rs = &ruleset{}
	}
	if maps.Equal(old.elements, rs.elements) {
		return
	}
	for pick := range old.pickers {
		if pick.sticky > 0 {
			c.moved(old, rs)
			break
		}
	}
	now := map[uint64]*pool{}
	udp := false
	for _, pl := range rs.pools {
		now[pl.id] = pl
		udp = udp || pl.proto == unix.IPPROTO_UDP
	}
	for _, pl := range old.pools {
		udp = udp || pl.proto == unix.IPPROTO_UDP
		for _, ep := range pl.slots {
			if n := now[pl.id]; n == nil || !slices.Contains(n.slots, ep) {
				c.lost(pl, ep)
			}
		}
	}
	if udp {
		c.before, c.now = append(c.before, old), append(c.now, rs)
	}
}

// lost notes an endpoint that left its pool.
func (c *cleanup) lost(pl *pool, ep netip.AddrPort) {
	if pl.proto == unix.IPPROTO_UDP {
		if c.gone == nil {
			c.gone = map[netip.AddrPort]bool{}
		}
		c.gone[ep] = true
	}
}

// moved notes the indexes of sticky services that mean another endpoint now.
// The port is enough of a frontend here: who is forgotten without need only
// draws again.
func (c *cleanup) moved(old, rs *ruleset) {
	for e, data := range old.elements {
		if (e.kind != mapEndpoints && e.kind != mapNodeEnds) || rs.elements[e] == data {
			continue
		}
		if c.sticky == nil {
			c.sticky = map[string]bool{}
		}
		c.sticky[e.key[len(e.key)-12:]] = true // protocol, port, index
	}
}

// forgetStale does what note remembered.
func (s *syncer) forgetStale() {
	todo := s.cleanup
	s.cleanup = cleanup{}
	if len(todo.now) > 0 {
		if err := s.forgetFlows(todo); err != nil {
			s.p.log.Warn("forgetting stale UDP flows", "error", err)
		}
	}
	if len(todo.sticky) > 0 {
		if err := s.forgetClients(todo.sticky); err != nil {
			s.p.log.Warn("forgetting sticky clients", "error", err)
		}
	}
}

// target is where UDP flows of one frontend may go.
type target map[netip.AddrPort]bool

// forgetFlows deletes UDP flows to the frontends of these services that are
// answered by none of their endpoints.
func (s *syncer) forgetFlows(todo cleanup) error {
	addrs, ports := map[string]target{}, map[uint16]target{}
	for _, rs := range todo.before {
		collectUDP(rs, false, addrs, ports) // frontends that may be gone, to nowhere
	}
	for _, rs := range todo.now {
		collectUDP(rs, true, addrs, ports)
	}
	if len(addrs) == 0 && len(ports) == 0 {
		return nil
	}
	conn, err := netlink.DialConntrack()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	local := localAddresses()
	var requests []netlink.Request
	for _, af := range []uint8{unix.AF_INET, unix.AF_INET6} {
		flows, err := conn.Flows(af, unix.IPPROTO_UDP)
		if err != nil {
			return err
		}
		for _, f := range flows {
			if !current(f, addrs, ports, todo.gone, local) {
				requests = append(requests, netlink.ForgetFlow(f))
			}
		}
	}
	const perSend = 128
	for len(requests) > 0 {
		part := requests[:min(perSend, len(requests))]
		requests = requests[len(part):]
		if err := conn.Do(part...); err != nil {
			return err
		}
	}
	return nil
}

// current reports whether the flow may stay.
func current(f netlink.Flow, addrs map[string]target, ports map[uint16]target,
	gone map[netip.AddrPort]bool, local map[netip.Addr]bool) bool {
	key := nft.Key{}.Addr(f.To.Addr()).Proto(unix.IPPROTO_UDP).Port(f.To.Port())
	if t, ok := addrs[string(key)]; ok {
		return t[f.Answerer]
	}
	t, ok := ports[f.To.Port()]
	if !ok || !local[f.To.Addr()] || t[f.Answerer] {
		return true
	}
	return !gone[f.Answerer] && f.Answerer != f.To
}

// collectUDP gathers frontends and, per frontend, its endpoints. With
// endpoints false all of them lead nowhere.
func collectUDP(rs *ruleset, endpoints bool, addrs map[string]target, ports map[uint16]target) {
	addr := func(key string) target {
		if addrs[key] == nil {
			addrs[key] = target{}
		}
		return addrs[key]
	}
	port := func(key string) target {
		number := uint16(key[4])<<8 | uint16(key[5])
		if ports[number] == nil {
			ports[number] = target{}
		}
		return ports[number]
	}
	for e, data := range rs.elements {
		switch e.kind {
		case mapServices, mapRefused:
			if e.key[len(e.key)-8] == unix.IPPROTO_UDP {
				addr(e.key)
			}
		case mapNodePorts, mapNodeRefus:
			if e.key[0] == unix.IPPROTO_UDP {
				port(e.key)
			}
		case mapEndpoints:
			if endpoints && e.key[len(e.key)-12] == unix.IPPROTO_UDP {
				addr(e.key[:len(e.key)-4])[endpointOf(data)] = true
			}
		case mapNodeEnds:
			if endpoints && e.key[0] == unix.IPPROTO_UDP {
				port(e.key)[endpointOf(data)] = true
			}
		}
	}
}

func localAddresses() map[netip.Addr]bool {
	found := map[netip.Addr]bool{}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return found
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			found[p.Addr()] = true
		}
	}
	return found
}

// forgetClients deletes the sticky clients of endpoints that are gone.
func (s *syncer) forgetClients(gone map[string]bool) error {
	for _, f := range families() {
		m := f.mapOf(mapAffinity)
		elements, err := s.conn.Elements(m)
		if err != nil {
			return err
		}
		for _, e := range elements {
			// protocol and port lie before the client's address
			client := int(f.client()) * 4
			if len(e.Key) < client+8 || !gone[e.Key[len(e.Key)-client-8:len(e.Key)-client]+e.Data] {
				continue
			}
			b := s.conn.Batch()
			b.DeleteElements(m, []nft.Element{e})
			// It may have timed out meanwhile.
			if err := b.Commit(); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	return nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
