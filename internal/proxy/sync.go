package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/internal/kernel/nft"
)

// localPrefix starts the names of the node's own services; no namespace has a
// name with this character.
const localPrefix = "!"

// retryAfter is the pause after the kernel refused a change, doubled up to
// retryLimit; nothing is lost meanwhile, the old rules stay.
const (
	retryAfter = 100 * time.Millisecond
	retryLimit = 10 * time.Second
)

// syncer owns the kernel's rules while the proxy runs.
type syncer struct {
	p     *Proxy
	conn  *nft.Conn
	state *state
	cleanup
}

func (p *Proxy) run(ctx context.Context, ready func()) error {
	conn, err := nft.Open(p.deps.Table)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer p.relays.close()
	if !p.view.waitSynced(ctx) {
		return ctx.Err()
	}
	s := &syncer{p: p, conn: conn, state: newState()}
	if err := s.start(); err != nil {
		return err
	}
	ready()
	return s.loop(ctx)
}

// start brings the rules of all known services into the kernel.
func (s *syncer) start() error {
	if err := s.state.load(s.conn); err != nil {
		return err
	}
	for i, local := range s.p.deps.localServices() {
		rs := localRules(local, s.p.deps.ClusterCIDR)
		s.state.set(fmt.Sprintf("%s%d", localPrefix, i), rs)
		s.note(nil, rs)
	}
	work := s.p.view.take()
	s.plan(work)
	if _, err := s.state.apply(s.conn, s.p.deps, true); err != nil {
		// Rules of another version may have maps of another shape.
		s.p.log.Warn("replacing the service rules of a former process", "reason", err)
		if err := clearRules(s.conn, s.p.deps); err != nil {
			return err
		}
		if err := s.state.load(s.conn); err != nil {
			return err
		}
		if _, err := s.state.apply(s.conn, s.p.deps, true); err != nil {
			return err
		}
	}
	s.after(work)
	return nil
}

// loop carries changes into the kernel until ctx ends. While one transaction
// is under way further changes gather, and go together in the next.
func (s *syncer) loop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.p.view.wake:
		}
		work := s.p.view.take()
		s.plan(work)
		for again := true; again; again = s.state.bury() {
			if !s.applyUntil(ctx) {
				return nil
			}
		}
		s.after(work)
	}
}

// applyUntil applies until the kernel takes it; it reports false if ctx ended.
func (s *syncer) applyUntil(ctx context.Context) bool {
	for pause := retryAfter; ; pause = min(2*pause, retryLimit) {
		_, err := s.state.apply(s.conn, s.p.deps, false)
		if err == nil {
			return true
		}
		s.p.log.Warn("changing service rules, will retry", "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		if err := s.state.load(s.conn); err != nil {
			s.p.log.Warn("reading service rules, will retry", "error", err)
		}
	}
}

// plan computes the rules of the services that changed.
func (s *syncer) plan(w work) {
	// Older services first: on a conflict the first one keeps an address.
	slices.SortFunc(w.names, func(a, b string) int {
		return compareAge(w.services[a], w.services[b], a, b)
	})
	var again []string
	for _, name := range w.names {
		old := s.state.rulesets[name]
		var rs *ruleset
		if svc := w.services[name]; svc != nil {
			leaving := w.draining[name]
			pl := planner{nodeName: s.p.deps.NodeName, externalIPs: s.p.deps.ExternalIPs, pods: s.p.deps.ClusterCIDR,
				draining: func(a netip.Addr) bool { return leaving[a] }}
			rs = pl.plan(svc, w.slices[name], s.slotsOf(old))
		}
		again = append(again, s.state.set(name, rs)...)
		s.note(old, rs)
	}
	s.p.view.again(again)
}

// slotsOf is the order of a service's endpoints so far.
func (s *syncer) slotsOf(rs *ruleset) slots {
	if rs == nil {
		return nil
	}
	found := slots{}
	for _, pl := range rs.pools {
		found[pl.id] = pl.slots
	}
	return found
}

func compareAge(a, b *corev1.Service, nameA, nameB string) int {
	var ta, tb metav1.Time
	if a != nil {
		ta = a.CreationTimestamp
	}
	if b != nil {
		tb = b.CreationTimestamp
	}
	if c := ta.Compare(tb.Time); c != 0 {
		return c
	}
	if nameA < nameB {
		return -1
	}
	return 1
}

// after does what follows a change of the rules.
func (s *syncer) after(w work) {
	for _, name := range w.names {
		var ports []localPort
		if rs := s.state.rulesets[name]; rs != nil {
			ports = rs.localPorts
		}
		s.p.relays.set(name, w.services[name], ports)
	}
	s.forgetStale()
	for _, done := range w.done {
		close(done)
	}
}

// localRules are those of a service of the node itself.
func localRules(l LocalService, pods netip.Prefix) *ruleset {
	rs := &ruleset{elements: map[element]string{}, pickers: map[picker]bool{}}
	proto, ok := protocolNumber(corev1.Protocol(l.Protocol))
	if !ok {
		return rs
	}
	f := familyOf(l.Frontend.Addr())
	pl := &pool{id: poolID(localPrefix + l.Name + "/" + l.Protocol), v6: f.v6, proto: proto, slots: l.Backends}
	rs.pools = append(rs.pools, pl)
	front := frontend{addr: l.Frontend.Addr(), port: l.Frontend.Port()}
	rs.add(f, front, pl, chainRefuse)
	rs.addEndpoints(f, front, pl, pods)
	return rs
}

// clearRules removes all that staticChains, allMaps and the pickers made.
func clearRules(c *nft.Conn, d Deps) error {
	names, err := c.MapNames()
	if err != nil {
		return ignoreNotExist(err)
	}
	current, err := c.Inventory(nil)
	if err != nil {
		return ignoreNotExist(err)
	}
	ours := map[string]bool{}
	for _, ch := range staticChains(d) {
		ours[ch.Name] = true
	}
	b := c.Batch()
	var chains []string
	for _, ch := range current.Chains {
		if ours[ch.Name] || isPicker(ch.Name) {
			chains = append(chains, ch.Name)
			b.SetChain(nft.Chain{Name: ch.Name}) // empty: the maps have no user any more
		}
	}
	for _, m := range allMaps() {
		if slices.Contains(names, m.Name) {
			b.DeleteMap(m)
		}
	}
	for _, name := range chains {
		b.DeleteChain(name)
	}
	return b.Commit()
}
