package dns

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// maxAnswers bounds the cache; it is small, the host's resolver has one too.
	maxAnswers = 2048
	// maxAge and maxDenialAge bound how long an answer from outside is kept.
	maxAge       = 60 * time.Second
	maxDenialAge = 10 * time.Second
)

// answers is a cache of answers from outside.
type answers struct {
	mu   sync.Mutex
	kept map[question]kept
}

type kept struct {
	msg    *dns.Msg
	at     time.Time
	expiry time.Time
}

func newAnswers() *answers { return &answers{kept: map[question]kept{}} }

func (a *answers) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = map[question]kept{}
}

// get returns a copy with the time that went by taken off its TTLs.
func (a *answers) get(q question) *dns.Msg {
	a.mu.Lock()
	k, ok := a.kept[q]
	now := time.Now()
	if ok && !now.Before(k.expiry) {
		delete(a.kept, q)
		ok = false
	}
	a.mu.Unlock()
	if !ok {
		return nil
	}
	msg := k.msg.Copy()
	gone := uint32(now.Sub(k.at) / time.Second)
	for _, section := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(gone, h.Ttl)
			}
		}
	}
	return msg
}

func (a *answers) put(q question, msg *dns.Msg) {
	age := lifetime(msg)
	if age <= 0 {
		return
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.kept) >= maxAnswers {
		a.evict(now)
	}
	a.kept[q] = kept{msg: msg.Copy(), at: now, expiry: now.Add(age)}
}

// evict makes room: what has expired goes, or else any one entry.
func (a *answers) evict(now time.Time) {
	for q, k := range a.kept {
		if !now.Before(k.expiry) {
			delete(a.kept, q)
		}
	}
	for q := range a.kept {
		if len(a.kept) < maxAnswers {
			return
		}
		delete(a.kept, q)
	}
}

// lifetime is the least TTL of the answer, or what its SOA allows for a
// denial (RFC 2308 section 5). Failures and truncated answers are not kept.
func lifetime(msg *dns.Msg) time.Duration {
	if msg.Truncated || (msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError) {
		return 0
	}
	if len(msg.Answer) == 0 {
		for _, rr := range msg.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				return min(time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second, maxDenialAge)
			}
		}
		return 0
	}
	least := maxAge
	for _, rr := range msg.Answer {
		least = min(least, time.Duration(rr.Header().Ttl)*time.Second)
	}
	return least
}
