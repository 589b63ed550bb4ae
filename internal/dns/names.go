package dns

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// names is the zone's content, by name. It also knows the names in between
// (empty non-terminals), which exist but have no record (RFC 8020).
type names struct {
	domain string // absolute, lower case
	ranges []netip.Prefix

	mu      sync.RWMutex
	owners  map[string][]record            // what each object put in
	records map[string]map[record]int      // by name; two objects may say the same
	below   map[string]int                 // how many records are at or below a name
	pods    map[netip.Addr]map[string]bool // namespaces of the pods with an address
}

func newNames(domain string, ranges ...netip.Prefix) *names {
	return &names{domain: strings.ToLower(dns.Fqdn(domain)), ranges: ranges, owners: map[string][]record{},
		records: map[string]map[record]int{}, below: map[string]int{}, pods: map[netip.Addr]map[string]bool{}}
}

// set replaces what an object put in.
func (n *names) set(owner string, records []record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.owners[owner] {
		if n.records[r.name][r]--; n.records[r.name][r] == 0 {
			delete(n.records[r.name], r)
			if len(n.records[r.name]) == 0 {
				delete(n.records, r.name)
			}
		}
		n.count(r.name, -1)
	}
	delete(n.owners, owner)
	if len(records) == 0 {
		return
	}
	n.owners[owner] = records
	for _, r := range records {
		if n.records[r.name] == nil {
			n.records[r.name] = map[record]int{}
		}
		n.records[r.name][r]++
		n.count(r.name, 1)
	}
}

func (n *names) count(name string, by int) {
	for {
		if n.below[name] += by; n.below[name] == 0 {
			delete(n.below, name)
		}
		i := strings.IndexByte(name, '.')
		if i < 0 || i == len(name)-1 {
			return
		}
		name = name[i+1:]
	}
}

func (n *names) setPod(namespace string, addrs []netip.Addr, there bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range addrs {
		switch {
		case there && n.pods[a] == nil:
			n.pods[a] = map[string]bool{namespace: true}
		case there:
			n.pods[a][namespace] = true
		default:
			delete(n.pods[a], namespace)
			if len(n.pods[a]) == 0 {
				delete(n.pods, a)
			}
		}
	}
}

// ours reports whether the zone is the authority for a name in lower case.
func (n *names) ours(name string) bool {
	if dns.IsSubDomain(n.domain, name) {
		return true
	}
	a, ok := reverse(name)
	if !ok {
		return false
	}
	for _, p := range n.ranges {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// zone is the zone that a name of ours belongs to, the owner of its SOA.
func (n *names) zone(name string) string {
	if dns.IsSubDomain(n.domain, name) {
		return n.domain
	}
	if i := dns.PrevLabel; strings.HasSuffix(name, ".in-addr.arpa.") {
		at, _ := i(name, 4) // b.a.in-addr.arpa
		return name[at:]
	}
	at, _ := dns.PrevLabel(name, 10) // the first 32 bits
	return name[at:]
}

// lookup returns the records of a name in lower case and whether the name
// exists at all.
func (n *names) lookup(name string) (records []record, exists bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for r := range n.records[name] {
		records = append(records, r)
	}
	if len(records) > 0 || n.below[name] > 0 || name == n.domain {
		return records, true
	}
	return n.pod(name)
}

// pod answers a-b-c-d.NAMESPACE.pod.DOMAIN for pods that there are.
func (n *names) pod(name string) ([]record, bool) {
	rest, ok := strings.CutSuffix(name, "pod."+n.domain)
	if !ok {
		return nil, false
	}
	labels := strings.Split(strings.TrimSuffix(rest, "."), ".")
	switch {
	case rest == "":
		return nil, true
	case len(labels) != 2:
		return nil, false
	}
	a, ok := undash(labels[0])
	if !ok || !n.pods[a][labels[1]] {
		return nil, false
	}
	return []record{address(name, a)}, true
}

// reverse reads the address out of a whole reverse name.
func reverse(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		l := strings.Split(rest, ".")
		if len(l) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(l[3] + "." + l[2] + "." + l[1] + "." + l[0])
		return a, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	nibbles := strings.ReplaceAll(rest, ".", "")
	if !ok || len(nibbles) != 32 || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var text strings.Builder
	for i := 31; i >= 0; i-- {
		text.WriteByte(nibbles[i])
		if i%4 == 0 && i > 0 {
			text.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(text.String())
	return a, err == nil
}
