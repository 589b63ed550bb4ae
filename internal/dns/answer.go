package dns

import (
	"context"
	"math/rand/v2"
	"strings"

	"github.com/miekg/dns"
)

// payload is the largest UDP answer that is sent, whatever the client says it
// takes: larger ones are lost to fragmentation (DNS flag day 2020).
const payload = 1232

// maxChain bounds a chain of CNAMEs.
const maxChain = 8

// respond answers one query. It never returns nil.
func (s *Server) respond(ctx context.Context, req *dns.Msg) *dns.Msg {
	resp := new(dns.Msg)
	resp.SetReply(req)
	resp.RecursionAvailable = true
	switch {
	case req.Response || len(req.Question) != 1:
		return resp.SetRcodeFormatError(req)
	case req.Opcode != dns.OpcodeQuery:
		resp.Rcode = dns.RcodeNotImplemented
		return resp
	}
	if opt := req.IsEdns0(); opt != nil {
		resp.SetEdns0(payload, opt.Do())
		if opt.Version() != 0 {
			resp.Rcode = dns.RcodeBadVers // RFC 6891 section 6.1.3
			return resp
		}
	}
	q := req.Question[0]
	name := strings.ToLower(q.Name)
	if q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY {
		resp.Rcode = dns.RcodeRefused
		return resp
	}
	if !s.names.ours(name) {
		return s.forward(ctx, req, resp)
	}
	s.authoritative(ctx, req, resp, q.Name)
	return resp
}

// authoritative answers from the zone. owner is the name as it was asked for.
func (s *Server) authoritative(ctx context.Context, req, resp *dns.Msg, owner string) {
	resp.Authoritative = true
	kind := req.Question[0].Qtype
	for range maxChain {
		name := strings.ToLower(owner)
		records, exists := s.names.lookup(name)
		if !exists {
			if len(resp.Answer) == 0 {
				resp.Rcode = dns.RcodeNameError
			}
			resp.Ns = []dns.RR{s.soa(s.names.zone(name))}
			return
		}
		found, alias := match(records, kind)
		for _, r := range found {
			resp.Answer = append(resp.Answer, r.rr(owner))
		}
		if kind == dns.TypeSOA && name == s.names.domain {
			resp.Answer = append(resp.Answer, s.soa(name))
		}
		if alias == "" {
			s.finish(resp, name)
			return
		}
		if !s.names.ours(alias) {
			s.follow(ctx, req, resp, alias)
			return
		}
		owner = alias
	}
	resp.Rcode = dns.RcodeServerFailure
}

// match selects the records of a type; an alias is selected by every type.
func match(records []record, kind uint16) (found []record, alias string) {
	for _, r := range records {
		switch {
		case r.kind == kind || kind == dns.TypeANY:
			found = append(found, r)
		case r.kind == dns.TypeCNAME:
			return []record{r}, r.target
		}
	}
	// The order is random anyway (a map); make it evenly so.
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	return found, ""
}

// finish adds what goes with an answer: addresses of targets, or the proof
// that there is no such record.
func (s *Server) finish(resp *dns.Msg, name string) {
	if len(resp.Answer) == 0 {
		resp.Ns = []dns.RR{s.soa(s.names.zone(name))}
		return
	}
	seen := map[string]bool{}
	for _, rr := range resp.Answer {
		srv, ok := rr.(*dns.SRV)
		if !ok || seen[srv.Target] {
			continue
		}
		seen[srv.Target] = true
		records, _ := s.names.lookup(srv.Target)
		for _, r := range records {
			if r.kind == dns.TypeA || r.kind == dns.TypeAAAA {
				resp.Extra = append(resp.Extra, r.rr(srv.Target))
			}
		}
	}
}

// follow asks the host's resolvers for the target of an ExternalName service.
func (s *Server) follow(ctx context.Context, req, resp *dns.Msg, target string) {
	outside := req.Copy()
	outside.Question[0].Name = target
	resp.Authoritative = false
	answer, err := s.upstream.ask(ctx, outside)
	if err != nil {
		resp.Rcode = dns.RcodeServerFailure
		return
	}
	resp.Rcode = answer.Rcode
	resp.Answer = append(resp.Answer, answer.Answer...)
	resp.Ns = answer.Ns
}

// forward answers from the host's resolvers.
func (s *Server) forward(ctx context.Context, req, resp *dns.Msg) *dns.Msg {
	if !req.RecursionDesired {
		resp.Rcode = dns.RcodeRefused
		return resp
	}
	answer, err := s.upstream.ask(ctx, req)
	if err != nil {
		resp.Rcode = dns.RcodeServerFailure
		return resp
	}
	resp.Rcode = answer.Rcode & 0xf // the higher bits are in the OPT record
	resp.AuthenticatedData = answer.AuthenticatedData
	resp.Answer, resp.Ns = answer.Answer, answer.Ns
	for _, rr := range answer.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			resp.Extra = append(resp.Extra, rr)
		}
	}
	return resp
}

// soa makes negative answers cacheable, for as long as records live (RFC 2308).
func (s *Server) soa(zone string) dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns.dns." + s.names.domain, Mbox: "hostmaster." + s.names.domain,
		// A serial that never changes: there are no secondaries to notice.
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}

// fit makes the answer as small as the client can take it.
func fit(req, resp *dns.Msg, tcp bool) {
	resp.Compress = true
	if tcp {
		resp.Truncate(dns.MaxMsgSize)
		return
	}
	size := dns.MinMsgSize
	if opt := req.IsEdns0(); opt != nil {
		size = max(size, min(int(opt.UDPSize()), payload))
	}
	resp.Truncate(size)
}
