package proxy

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"

	"go.skiff.dev/skiff/internal/kernel/nft"
)

// state is what the kernel has, what it should have, and where the two may
// differ. Only apply talks to the kernel; it compares nothing but dirty elements.
type state struct {
	kernel map[element]string
	want   map[element]string
	owner  map[element]string // the service that an element came from
	losers map[element]map[string]bool
	dirty  map[element]bool

	rulesets map[string]*ruleset
	shared   map[element]int // how many services need a shared element
	pickers  map[picker]int
	chains   map[string]bool    // picker chains in the kernel
	retired  map[element]string // indexes past the end of their pool, by service
}

func newState() *state {
	return &state{
		kernel: map[element]string{}, want: map[element]string{}, owner: map[element]string{},
		losers: map[element]map[string]bool{}, dirty: map[element]bool{}, rulesets: map[string]*ruleset{},
		shared: map[element]int{}, pickers: map[picker]int{}, chains: map[string]bool{}, retired: map[element]string{},
	}
}

// shared reports whether several services may need the same element.
func (e element) shared() bool { return e.kind == mapHairpin || e.kind == mapRemote }

// set gives a service its new rules (nil: it is gone). It returns services
// that lost an element to this one before and may have it now.
func (s *state) set(name string, rs *ruleset) (again []string) {
	old := s.rulesets[name]
	if old == nil {
		old = &ruleset{}
	}
	if rs == nil {
		delete(s.rulesets, name)
		rs = &ruleset{}
	} else {
		s.rulesets[name] = rs
	}
	for e := range old.elements {
		if _, stays := rs.elements[e]; stays {
			continue
		}
		if data := rs.standIn(e); data != "" {
			s.retire(name, e, data)
			continue
		}
		again = append(again, s.remove(name, e)...)
	}
	for e, data := range rs.elements {
		s.put(name, e, data, old)
	}
	for p := range rs.pickers {
		if !old.pickers[p] {
			s.pickers[p]++
		}
	}
	for p := range old.pickers {
		if !rs.pickers[p] {
			if s.pickers[p]--; s.pickers[p] == 0 {
				delete(s.pickers, p)
			}
		}
	}
	return again
}

// standIn is what an index past the new end of its pool leads to until it is
// deleted, or nothing if the pool is gone or empty.
func (rs *ruleset) standIn(e element) string {
	if e.kind != mapEndpoints && e.kind != mapNodeEnds {
		return ""
	}
	return rs.elements[element{e.kind, e.v6, e.key[:len(e.key)-4] + string(nft.Key{}.Mark(0))}]
}

// retire keeps an index that is no longer drawn for one more transaction. A
// packet that drew it just before this transaction looks it up just after, and
// must find an endpoint: the kernel's transactions are atomic for each lookup,
// not for all lookups of a packet.
func (s *state) retire(name string, e element, data string) {
	if s.owner[e] != name {
		return
	}
	s.want[e] = data
	s.dirty[e] = true
	s.retired[e] = name
}

// bury makes the next apply delete what was retired; it reports whether there
// is anything.
func (s *state) bury() bool {
	if len(s.retired) == 0 {
		return false
	}
	for e, name := range s.retired {
		s.remove(name, e)
	}
	s.retired = map[element]string{}
	return true
}

func (s *state) put(name string, e element, data string, old *ruleset) {
	if e.shared() {
		if _, had := old.elements[e]; !had {
			s.shared[e]++
			s.want[e] = ""
			s.dirty[e] = true
		}
		return
	}
	if other, taken := s.owner[e]; taken && other != name {
		// Two services claim one address: who came first keeps it, except
		// that the node's own services always win.
		if !strings.HasPrefix(name, localPrefix) {
			s.lose(e, name)
			return
		}
		s.lose(e, other)
	}
	s.owner[e] = name
	delete(s.retired, e)
	if s.want[e] != data || s.kernel[e] != data {
		s.want[e] = data
		s.dirty[e] = true
	}
}

func (s *state) lose(e element, name string) {
	if s.losers[e] == nil {
		s.losers[e] = map[string]bool{}
	}
	s.losers[e][name] = true
}

func (s *state) remove(name string, e element) (again []string) {
	if e.shared() {
		if s.shared[e]--; s.shared[e] == 0 {
			delete(s.shared, e)
			delete(s.want, e)
			s.dirty[e] = true
		}
		return nil
	}
	delete(s.losers[e], name)
	if s.owner[e] != name {
		return nil
	}
	delete(s.retired, e)
	delete(s.owner, e)
	delete(s.want, e)
	s.dirty[e] = true
	for loser := range s.losers[e] {
		again = append(again, loser)
	}
	delete(s.losers, e)
	return again
}

// apply makes the kernel as it should be, in one transaction. With all set it
// also writes every chain and map anew.
func (s *state) apply(c *nft.Conn, d Deps, all bool) (changed int, err error) {
	b := c.Batch()
	if all {
		for _, m := range allMaps() {
			b.AddMap(m)
		}
	}
	wanted := s.chainsWanted()
	for name, rules := range wanted {
		if all || !s.chains[name] {
			b.SetChain(nft.Chain{Name: name, Rules: rules()})
		}
	}
	if all {
		for _, ch := range staticChains(d) {
			b.SetChain(ch)
		}
	}
	changed = s.addElements(b)
	for name := range s.chains {
		if wanted[name] == nil {
			b.DeleteChain(name)
		}
	}
	if b.Empty() {
		return 0, nil
	}
	if err := b.Commit(); err != nil {
		return 0, err
	}
	s.committed(wanted)
	return changed, nil
}

// chainsWanted are the chains that the services need, by name.
func (s *state) chainsWanted() map[string]func() []nft.Rule {
	wanted := map[string]func() []nft.Rule{}
	for p := range s.pickers {
		wanted[p.chain()] = p.rules
	}
	return wanted
}

// addElements puts the difference of the dirty elements into the batch.
func (s *state) addElements(b *nft.Batch) int {
	type mapKey struct {
		kind string
		v6   bool
	}
	dels, adds := map[mapKey][]nft.Element{}, map[mapKey][]nft.Element{}
	changed := 0
	for e := range s.dirty {
		has, in := s.kernel[e]
		want, wanted := s.want[e]
		k := mapKey{e.kind, e.v6}
		if in && wanted && has == want {
			continue
		}
		if in {
			dels[k] = append(dels[k], nft.Element{Key: e.key, Data: has})
			changed++
		}
		if wanted {
			adds[k] = append(adds[k], nft.Element{Key: e.key, Data: want})
			changed++
		}
	}
	for _, f := range families() {
		for _, kind := range kinds() {
			k := mapKey{kind, f.v6}
			m := f.mapOf(kind)
			b.DeleteElements(m, dels[k])
			b.AddElements(m, adds[k])
		}
	}
	return changed
}

func (s *state) committed(chains map[string]func() []nft.Rule) {
	for e := range s.dirty {
		if want, ok := s.want[e]; ok {
			s.kernel[e] = want
		} else {
			delete(s.kernel, e)
		}
	}
	s.dirty = map[element]bool{}
	s.chains = map[string]bool{}
	for name := range chains {
		s.chains[name] = true
	}
}

// load reads what the kernel has, from a former process or after an error.
func (s *state) load(c *nft.Conn) error {
	s.kernel, s.chains = map[element]string{}, map[string]bool{}
	current, err := c.Inventory(allMaps())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return err
	}
	for _, ch := range current.Chains {
		if isPicker(ch.Name) {
			s.chains[ch.Name] = true
		}
	}
	for _, f := range families() {
		for _, kind := range kinds() {
			if kind == mapAffinity {
				continue // the packets' own
			}
			for _, e := range current.Elements[f.mapOf(kind).Name] {
				s.kernel[element{kind, f.v6, e.Key}] = e.Data
			}
		}
	}
	for e := range s.kernel {
		s.dirty[e] = true
	}
	for e := range s.want {
		s.dirty[e] = true
	}
	return nil
}

// endpointOf is the reverse of nft.Key's Addr and Port.
func endpointOf(data string) netip.AddrPort {
	if len(data) < 8 {
		return netip.AddrPort{}
	}
	size := 4
	if len(data) >= 20 {
		size = 16
	}
	a, _ := netip.AddrFromSlice([]byte(data[:size]))
	return netip.AddrPortFrom(a, uint16(data[size])<<8|uint16(data[size+1]))
}
