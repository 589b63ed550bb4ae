package dns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// tryTimeout bounds one question to one resolver, headStart is the time
	// that one has before the next is asked too.
	tryTimeout = 2 * time.Second
	headStart  = 400 * time.Millisecond
	// restAfter is how long nothing is asked after all resolvers were silent:
	// a machine that is offline says so at once instead of making each
	// question wait.
	restAfter = time.Second
)

var errNoResolver = errors.New("the host has no resolver that answers")

// upstream asks the host's resolvers, in the order of resolv.conf. A question
// that is under way is not asked a second time, so a resolver that leads back
// to us makes one question time out and no storm.
type upstream struct {
	path   string
	never  func(netip.Addr) bool
	log    *slog.Logger
	cache  *answers
	client dns.Client // UDP
	stream dns.Client // TCP

	mu      sync.Mutex
	servers []string
	flights map[question]*flight
	silent  time.Time // when all resolvers were silent, last
}

// question identifies answers that are the same for everybody.
type question struct {
	name              string
	kind, class       uint16
	do, checkDisabled bool
}

type flight struct {
	done chan struct{}
	msg  *dns.Msg
	err  error
}

func newUpstream(path string, never func(netip.Addr) bool, log *slog.Logger) *upstream {
	return &upstream{path: path, never: never, log: log, cache: newAnswers(), flights: map[question]*flight{},
		client: dns.Client{Net: "udp", Timeout: tryTimeout, UDPSize: 4096},
		stream: dns.Client{Net: "tcp", Timeout: tryTimeout}}
}

// reload reads resolv.conf. Without the file there are no resolvers.
func (u *upstream) reload() {
	servers, err := u.read()
	if err != nil {
		u.log.Warn("reading the host's resolvers", "path", u.path, "error", err)
	}
	u.mu.Lock()
	changed := !slices.Equal(u.servers, servers)
	u.servers, u.silent = servers, time.Time{}
	u.mu.Unlock()
	if changed {
		u.cache.clear()
		u.log.Info("forwarding other names to the host's resolvers", "resolvers", strings.Join(servers, " "))
	}
}

func (u *upstream) read() ([]string, error) {
	f, err := os.Open(u.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	conf, err := dns.ClientConfigFromReader(f)
	if err != nil {
		return nil, fmt.Errorf("parsing %s: %w", u.path, err)
	}
	var servers []string
	for _, text := range conf.Servers {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			u.log.Warn("ignoring a resolver that is no address", "resolver", text)
		case u.never(a.WithZone("")):
			u.log.Warn("ignoring a resolver that is this server itself", "resolver", text)
		default:
			servers = append(servers, net.JoinHostPort(text, conf.Port))
		}
	}
	return servers, nil
}

// ask returns the answer to req's question; the message is the caller's own.
func (u *upstream) ask(ctx context.Context, req *dns.Msg) (*dns.Msg, error) {
	q := keyOf(req)
	if msg := u.cache.get(q); msg != nil {
		return msg, nil
	}
	u.mu.Lock()
	f, under := u.flights[q]
	if !under {
		if time.Since(u.silent) < restAfter {
			u.mu.Unlock()
			return nil, errNoResolver
		}
		f = &flight{done: make(chan struct{})}
		u.flights[q] = f
		go u.fly(q, f, slices.Clone(u.servers), query(req))
	}
	u.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.msg.Copy(), nil
}

func keyOf(req *dns.Msg) question {
	q := req.Question[0]
	key := question{name: strings.ToLower(q.Name), kind: q.Qtype, class: q.Qclass, checkDisabled: req.CheckingDisabled}
	if opt := req.IsEdns0(); opt != nil {
		key.do = opt.Do()
	}
	return key
}

// query is the question as we ask it.
func query(req *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(req.Question[0].Name, req.Question[0].Qtype)
	m.Question[0].Qclass = req.Question[0].Qclass
	m.CheckingDisabled, m.AuthenticatedData = req.CheckingDisabled, req.AuthenticatedData
	opt := req.IsEdns0()
	m.SetEdns0(payload, opt != nil && opt.Do())
	return m
}

// fly asks the resolvers and ends the flight.
func (u *upstream) fly(q question, f *flight, servers []string, m *dns.Msg) {
	f.msg, f.err = u.race(servers, m)
	u.mu.Lock()
	delete(u.flights, q)
	if f.err != nil {
		u.silent = time.Now()
	}
	u.mu.Unlock()
	if f.err == nil {
		u.cache.put(q, f.msg)
	}
	close(f.done)
}

// race asks the first resolver, and the next one as soon as the one before it
// failed or had its head start. The first good answer wins.
func (u *upstream) race(servers []string, m *dns.Msg) (*dns.Msg, error) {
	if len(servers) == 0 {
		return nil, errNoResolver
	}
	type result struct {
		msg *dns.Msg
		err error
	}
	results := make(chan result, len(servers))
	var last result
	next, waiting := 0, 0
	start := func() {
		server := servers[next]
		next++
		waiting++
		go func() {
			msg, err := u.exchange(server, m)
			results <- result{msg, err}
		}()
	}
	start()
	for waiting > 0 {
		timer := time.NewTimer(headStart)
		select {
		case r := <-results:
			waiting--
			if r.err == nil && r.msg.Rcode != dns.RcodeServerFailure && r.msg.Rcode != dns.RcodeRefused {
				timer.Stop()
				return r.msg, nil
			}
			if last.msg == nil {
				last = r
			}
			if next < len(servers) {
				start()
			}
		case <-timer.C:
			if next < len(servers) {
				start()
			}
		}
		timer.Stop()
	}
	return last.msg, last.err
}

// exchange asks one resolver, by TCP if the answer does not fit a datagram.
func (u *upstream) exchange(server string, m *dns.Msg) (*dns.Msg, error) {
	msg, _, err := u.client.Exchange(m.Copy(), server)
	if err == nil && msg.Truncated {
		if whole, _, tcpErr := u.stream.Exchange(m.Copy(), server); tcpErr == nil {
			return whole, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("asking resolver %s: %w", server, err)
	}
	return msg, nil
}
