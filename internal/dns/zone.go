package dns

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Version is the version of the specification that the zone follows
// (https://github.com/kubernetes/dns/blob/master/docs/specification.md).
const Version = "1.1.0"

// ttl of all records, in seconds. Records change with their objects, so a
// resolver should not keep one for longer than a rollout lasts.
const ttl = 5

// record is one record of the zone. Names are absolute and in lower case.
type record struct {
	name string
	kind uint16
	// data: an address, or the target of CNAME, SRV and PTR.
	addr   netip.Addr
	target string
	port   uint16
	text   string
}

// rr makes the record as it is sent, owned by the name as it was asked for.
func (r record) rr(owner string) dns.RR {
	h := dns.RR_Header{Name: owner, Rrtype: r.kind, Class: dns.ClassINET, Ttl: ttl}
	switch r.kind {
	case dns.TypeA:
		return &dns.A{Hdr: h, A: r.addr.AsSlice()}
	case dns.TypeAAAA:
		return &dns.AAAA{Hdr: h, AAAA: r.addr.AsSlice()}
	case dns.TypeCNAME:
		return &dns.CNAME{Hdr: h, Target: r.target}
	case dns.TypeSRV:
		return &dns.SRV{Hdr: h, Priority: 0, Weight: 100, Port: r.port, Target: r.target}
	case dns.TypePTR:
		return &dns.PTR{Hdr: h, Ptr: r.target}
	case dns.TypeNS:
		return &dns.NS{Hdr: h, Ns: r.target}
	default:
		return &dns.TXT{Hdr: h, Txt: []string{r.text}}
	}
}

func address(name string, a netip.Addr) record {
	if a.Is4() {
		return record{name: name, kind: dns.TypeA, addr: a}
	}
	return record{name: name, kind: dns.TypeAAAA, addr: a}
}

func pointer(a netip.Addr, target string) record {
	reverse, err := dns.ReverseAddr(a.String())
	if err != nil {
		reverse = "invalid."
	}
	return record{name: reverse, kind: dns.TypePTR, target: target}
}

// base records of the zone itself.
func zoneRecords(domain string, server netip.Addr) []record {
	records := []record{
		{name: "dns-version." + domain, kind: dns.TypeTXT, text: Version},
		{name: domain, kind: dns.TypeNS, target: "ns.dns." + domain},
	}
	if server.IsValid() {
		records = append(records, address("ns.dns."+domain, server))
	}
	return records
}

// serviceRecords are the records of one Service, by section 2 of the
// specification. It is pure.
func serviceRecords(domain string, svc *corev1.Service, slices []*discoveryv1.EndpointSlice) []record {
	base := strings.ToLower(svc.Name + "." + svc.Namespace + ".svc." + domain)
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		if svc.Spec.ExternalName == "" {
			return nil
		}
		return []record{{name: base, kind: dns.TypeCNAME, target: strings.ToLower(dns.Fqdn(svc.Spec.ExternalName))}}
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		return headlessRecords(base, svc, slices)
	default:
		return clusterRecords(base, svc)
	}
}

// clusterRecords: section 2.3, one address for all endpoints.
func clusterRecords(base string, svc *corev1.Service) []record {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	var records []record
	for _, text := range ips {
		if a, err := netip.ParseAddr(text); err == nil {
			records = append(records, address(base, a), pointer(a, base))
		}
	}
	if len(records) == 0 {
		return nil // the address is not allocated yet
	}
	for _, p := range svc.Spec.Ports {
		if p.Name != "" {
			records = append(records, service(base, p.Name, p.Protocol, uint16(p.Port), base))
		}
	}
	return records
}

// service is an SRV record: _port._proto.base.
func service(base, port string, proto corev1.Protocol, number uint16, target string) record {
	if proto == "" {
		proto = corev1.ProtocolTCP
	}
	name := strings.ToLower(fmt.Sprintf("_%s._%s.%s", port, proto, base))
	return record{name: name, kind: dns.TypeSRV, port: number, target: target}
}

// headlessRecords: section 2.4, one address per endpoint.
func headlessRecords(base string, svc *corev1.Service, slices []*discoveryv1.EndpointSlice) []record {
	var records []record
	seen := map[record]bool{}
	add := func(r record) {
		if !seen[r] {
			seen[r] = true
			records = append(records, r)
		}
	}
	for _, s := range slices {
		if s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if !published(svc, e) {
				continue
			}
			for _, text := range e.Addresses {
				a, err := netip.ParseAddr(text)
				if err != nil {
					continue
				}
				target, named := endpointName(base, e, a)
				add(address(base, a))
				add(address(target, a))
				if named {
					add(pointer(a, target))
				}
				for _, p := range s.Ports {
					if p.Name != nil && *p.Name != "" && p.Port != nil {
						add(service(base, *p.Name, protocolOf(p), uint16(*p.Port), target))
					}
				}
			}
		}
	}
	return records
}

func protocolOf(p discoveryv1.EndpointPort) corev1.Protocol {
	if p.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *p.Protocol
}

func published(svc *corev1.Service, e *discoveryv1.Endpoint) bool {
	return svc.Spec.PublishNotReadyAddresses || e.Conditions.Ready == nil || *e.Conditions.Ready
}

// endpointName is the name of one endpoint: its hostname, or its address with
// dashes, which the specification leaves to the implementation.
func endpointName(base string, e *discoveryv1.Endpoint, a netip.Addr) (name string, named bool) {
	if e.Hostname != nil && *e.Hostname != "" {
		return strings.ToLower(*e.Hostname) + "." + base, true
	}
	return dashed(a) + "." + base, false
}

func dashed(a netip.Addr) string {
	if a.Is4() {
		return strings.ReplaceAll(a.String(), ".", "-")
	}
	return strings.ReplaceAll(a.StringExpanded(), ":", "-")
}

// undash is the reverse of dashed; also the short form of an IPv6 address is read.
func undash(label string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil && a.Is4() {
		return a, true
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	return a, err == nil
}
