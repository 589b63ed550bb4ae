package proxy

import (
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/internal/kernel/netlink"
	"skiff.dev/skiff/internal/kernel/nft"
)

// cleanup remembers, between plan and after, whose clients the kernel must
// forget: UDP flows to an endpoint that is gone would go there for as long as
// the client talks, and sticky clients would come back to it.
type cleanup struct {
	before, now []*ruleset // of services with UDP ports
	gone        map[netip.AddrPort]bool
	sticky      map[uint64]map[netip.AddrPort]bool
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
	if pl.sticky == 0 {
		return
	}
	if c.sticky == nil {
		c.sticky = map[uint64]map[netip.AddrPort]bool{}
	}
	if c.sticky[pl.id] == nil {
		c.sticky[pl.id] = map[netip.AddrPort]bool{}
	}
	c.sticky[pl.id][ep] = true
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
		collectUDP(&ruleset{elements: rs.elements}, addrs, ports) // frontends that may be gone, to nowhere
	}
	for _, rs := range todo.now {
		collectUDP(rs, addrs, ports)
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
	key := string(nft.Key{}.Addr(f.To.Addr()).Proto(unix.IPPROTO_UDP).Port(f.To.Port()))
	if t, ok := addrs[key]; ok {
		return t[f.Answerer]
	}
	t, ok := ports[f.To.Port()]
	if !ok || !local[f.To.Addr()] || t[f.Answerer] {
		return true
	}
	return !gone[f.Answerer] && f.Answerer != f.To
}

// collectUDP gathers frontends and, per frontend, the endpoints of its pool.
func collectUDP(rs *ruleset, addrs map[string]target, ports map[uint16]target) {
	pools := map[string]*pool{}
	for _, pl := range rs.pools {
		pools[string(nft.Key{}.ID(pl.id))] = pl
	}
	for e, data := range rs.elements {
		t := target{}
		if pl := pools[data]; pl != nil {
			for _, ep := range pl.slots {
				t[ep] = true
			}
		}
		key := nft.Key(e.key)
		switch e.kind {
		case mapPools, mapRefused:
			if key[len(key)-8] == unix.IPPROTO_UDP {
				addrs[e.key] = t
			}
		case mapNodePools, mapNodeRefus:
			if key[0] == unix.IPPROTO_UDP {
				ports[uint16(key[4])<<8|uint16(key[5])] = t
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
func (s *syncer) forgetClients(gone map[uint64]map[netip.AddrPort]bool) error {
	for _, f := range families() {
		m := f.mapOf(mapAffinity)
		elements, err := s.conn.Elements(m)
		if err != nil {
			return err
		}
		for id, endpoints := range gone {
			prefix := string(nft.Key{}.ID(id))
			for _, e := range elements {
				if len(e.Key) <= 8 || e.Key[:8] != prefix || !endpoints[endpointOf(e.Data)] {
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
	}
	return nil
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
