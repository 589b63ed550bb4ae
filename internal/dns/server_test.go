package dns

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var update = flag.Bool("update", false, "write the golden files")

// world fills a view with one of each kind of service.
func world(v *view) {
	web := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{
		ClusterIP: "10.43.0.50", ClusterIPs: []string{"10.43.0.50", "fd00::50"},
		Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}, {Name: "metrics", Protocol: corev1.ProtocolUDP, Port: 9090}}}}
	db := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}}
	slow := db.DeepCopy()
	slow.Name, slow.Spec.PublishNotReadyAddresses = "slow", true
	out := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "out"},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.Example.com"}}
	inner := out.DeepCopy()
	inner.Name, inner.Spec.ExternalName = "inner", "web.shop.svc.cluster.local"
	for _, svc := range []*corev1.Service{web, db, slow, out, inner} {
		v.SetService(nil, svc)
	}
	for _, name := range []string{"db", "slow"} {
		v.SetSlice(nil, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: new("sql"), Protocol: new(corev1.ProtocolTCP), Port: new(int32(5432))}},
			Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.42.0.7"}, Hostname: new("db-0"), Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
				{Addresses: []string{"10.42.0.8"}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
				{Addresses: []string{"10.42.0.9"}, Hostname: new("db-2"), Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
			}})
	}
	v.setPod(nil, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"},
		Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.42.0.7"}}}})
}

func testServer(tb testing.TB, resolvers ...string) *Server {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "resolv.conf")
	writeResolvers(tb, path, resolvers...)
	s := New(Deps{Domain: "cluster.local", Listen: netip.MustParseAddr("127.0.0.1"), ClusterIP: netip.MustParseAddr("10.43.0.10"),
		ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"), ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"),
		ResolvConf: path, Log: slog.New(slog.DiscardHandler)})
	world(s.view)
	return s
}

func writeResolvers(tb testing.TB, path string, resolvers ...string) {
	tb.Helper()
	text := ""
	for _, r := range resolvers {
		text += "nameserver " + r + "\n"
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatal(err)
	}
}

func TestZoneGolden(t *testing.T) {
	s := testServer(t)
	var lines []string
	for name, set := range s.names.records {
		for r := range set {
			lines = append(lines, r.rr(name).String())
		}
	}
	slices.Sort(lines)
	got := strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "\t", " ")
	path := filepath.Join("testdata", "zone.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("zone (-want +got):\n%s", diff)
	}
}

func ask(s *Server, name string, kind uint16) *dns.Msg {
	req := new(dns.Msg)
	req.SetQuestion(name, kind)
	return s.respond(context.Background(), req)
}

func TestAnswers(t *testing.T) {
	s := testServer(t)
	for _, q := range []struct {
		name  string
		kind  uint16
		rcode int
		want  string // the answers' data, sorted
	}{
		{"web.shop.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, "10.43.0.50"},
		{"WEB.Shop.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, "10.43.0.50"},
		{"web.shop.svc.cluster.local.", dns.TypeAAAA, dns.RcodeSuccess, "fd00::50"},
		{"web.shop.svc.cluster.local.", dns.TypeMX, dns.RcodeSuccess, ""},
		{"_http._tcp.web.shop.svc.cluster.local.", dns.TypeSRV, dns.RcodeSuccess, "0 100 80 web.shop.svc.cluster.local."},
		{"_tcp.web.shop.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, ""}, // exists, as something is below it
		{"_http._udp.web.shop.svc.cluster.local.", dns.TypeSRV, dns.RcodeNameError, ""},
		{"db.shop.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, "10.42.0.7 10.42.0.8"},
		{"db.shop.svc.cluster.local.", dns.TypeAAAA, dns.RcodeSuccess, ""},
		{"slow.shop.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, "10.42.0.7 10.42.0.8 10.42.0.9"},
		{"db-0.db.shop.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, "10.42.0.7"},
		{"db-2.db.shop.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, ""},
		{"10-42-0-8.db.shop.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, "10.42.0.8"},
		{"_sql._tcp.db.shop.svc.cluster.local.", dns.TypeSRV, dns.RcodeSuccess, "0 100 5432 10-42-0-8.db.shop.svc.cluster.local. 0 100 5432 db-0.db.shop.svc.cluster.local."},
		{"inner.shop.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, "10.43.0.50 web.shop.svc.cluster.local."},
		{"out.shop.svc.cluster.local.", dns.TypeCNAME, dns.RcodeSuccess, "www.example.com."},
		{"nobody.shop.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, ""},
		{"google.com.shop.svc.cluster.local.", dns.TypeA, dns.RcodeNameError, ""},
		{"shop.svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, ""},
		{"svc.cluster.local.", dns.TypeA, dns.RcodeSuccess, ""},
		{"cluster.local.", dns.TypeSOA, dns.RcodeSuccess, "ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"},
		{"cluster.local.", dns.TypeNS, dns.RcodeSuccess, "ns.dns.cluster.local."},
		{"dns-version.cluster.local.", dns.TypeTXT, dns.RcodeSuccess, `"1.1.0"`},
		{"50.0.43.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "web.shop.svc.cluster.local."},
		{"51.0.43.10.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, ""},
		{"7.0.42.10.in-addr.arpa.", dns.TypePTR, dns.RcodeSuccess, "db-0.db.shop.svc.cluster.local. db-0.slow.shop.svc.cluster.local."},
		{"10-42-0-7.shop.pod.cluster.local.", dns.TypeA, dns.RcodeSuccess, "10.42.0.7"},
		{"10-42-0-7.other.pod.cluster.local.", dns.TypeA, dns.RcodeNameError, ""},
		{"www.example.com.", dns.TypeA, dns.RcodeServerFailure, ""}, // no resolver
	} {
		t.Run(q.name+dns.TypeToString[q.kind], func(t *testing.T) {
			resp := ask(s, q.name, q.kind)
			if resp.Rcode != q.rcode {
				t.Errorf("rcode %s, want %s", dns.RcodeToString[resp.Rcode], dns.RcodeToString[q.rcode])
			}
			var got []string
			for _, rr := range resp.Answer {
				got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			slices.Sort(got)
			if text := strings.Join(got, " "); text != q.want {
				t.Errorf("answers %q, want %q", text, q.want)
			}
			if len(resp.Answer) > 0 && !strings.HasPrefix(q.name, "inner") && resp.Answer[0].Header().Name != q.name {
				t.Errorf("owner %q, want it as it was asked for", resp.Answer[0].Header().Name)
			}
			if len(resp.Answer) == 0 && resp.Rcode != dns.RcodeServerFailure && (len(resp.Ns) != 1 || !resp.Authoritative) {
				t.Errorf("a denial without its SOA: %v", resp)
			}
		})
	}
}

// running starts the server on loopback.
func running(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Component().Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTruncationAndTCP(t *testing.T) {
	s := testServer(t)
	var endpoints []discoveryv1.Endpoint
	for i := range 200 {
		endpoints = append(endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.1.%d", i)}})
	}
	s.view.SetSlice(nil, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-1",
		Labels: map[string]string{discoveryv1.LabelServiceName: "db"}}, AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints})
	running(t, s)
	req := new(dns.Msg)
	req.SetQuestion("db.shop.svc.cluster.local.", dns.TypeA)
	for _, c := range []struct {
		net       string
		edns      uint16
		truncated bool
	}{{"udp", 0, true}, {"udp", 1232, true}, {"tcp", 0, false}} {
		m := req.Copy()
		if c.edns > 0 {
			m.SetEdns0(c.edns, false)
		}
		resp, _, err := (&dns.Client{Net: c.net}).Exchange(m, s.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		if resp.Truncated != c.truncated || !c.truncated && len(resp.Answer) != 200 {
			t.Errorf("%s, EDNS %d: truncated %t with %d answers", c.net, c.edns, resp.Truncated, len(resp.Answer))
		}
		if (resp.IsEdns0() != nil) != (c.edns > 0) {
			t.Errorf("%s, EDNS %d: OPT in the answer: %v", c.net, c.edns, resp.IsEdns0())
		}
	}
}

// resolver is a resolver outside. It runs on its own loopback address, port 53
// being what resolv.conf means.
func resolver(t *testing.T, handler dns.HandlerFunc) string {
	t.Helper()
	packet, err := net.ListenPacket("udp", fmt.Sprintf("127.%d.%d.53:53", 100+os.Getpid()%100, next.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: packet, Handler: handler}
	started := make(chan struct{})
	srv.NotifyStartedFunc = func() { close(started) }
	go func() { _ = srv.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = srv.Shutdown() })
	return packet.LocalAddr().(*net.UDPAddr).IP.String()
}

var next atomic.Int32

func TestForwarding(t *testing.T) {
	var asked atomic.Int32
	good := resolver(t, func(w dns.ResponseWriter, req *dns.Msg) {
		asked.Add(1)
		resp := new(dns.Msg).SetReply(req)
		rr, _ := dns.NewRR(req.Question[0].Name + " 30 IN A 192.0.2.80")
		resp.Answer = []dns.RR{rr}
		_ = w.WriteMsg(resp)
	})
	s := testServer(t, "10.43.0.10", "127.99.99.99", good) // ourselves, nobody, a good one
	running(t, s)
	for range 3 {
		resp := ask(s, "www.example.com.", dns.TypeA)
		if len(resp.Answer) != 1 || resp.Answer[0].(*dns.A).A.String() != "192.0.2.80" {
			t.Fatalf("answer %v", resp)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the resolver was asked %d times, want once and then the cache", asked.Load())
	}
	if resp := ask(s, "out.shop.svc.cluster.local.", dns.TypeA); len(resp.Answer) != 2 {
		t.Errorf("external name: %v", resp)
	}
}

func TestNewResolversAreNoticed(t *testing.T) {
	named := func(ip string) dns.HandlerFunc {
		return func(w dns.ResponseWriter, req *dns.Msg) {
			resp := new(dns.Msg).SetReply(req)
			rr, _ := dns.NewRR(req.Question[0].Name + " 0 IN A " + ip)
			resp.Answer = []dns.RR{rr}
			_ = w.WriteMsg(resp)
		}
	}
	one, two := resolver(t, named("192.0.2.1")), resolver(t, named("192.0.2.2"))
	s := testServer(t, one)
	running(t, s)
	reloaded := make(chan struct{}, 8)
	s.upstream.log = slog.New(notify{slog.DiscardHandler, reloaded})
	if resp := ask(s, "x.example.", dns.TypeA); resp.Answer[0].(*dns.A).A.String() != "192.0.2.1" {
		t.Fatalf("answer %v", resp)
	}
	writeResolvers(t, s.deps.ResolvConf, two)
	<-reloaded
	if resp := ask(s, "x.example.", dns.TypeA); resp.Answer[0].(*dns.A).A.String() != "192.0.2.2" {
		t.Fatalf("answer %v", resp)
	}
}

// notify tells of each log record.
type notify struct {
	slog.Handler
	c chan struct{}
}

func (n notify) Enabled(context.Context, slog.Level) bool  { return true }
func (n notify) Handle(context.Context, slog.Record) error { n.c <- struct{}{}; return nil }

func TestOfflineFailsFastAndClusterNamesWork(t *testing.T) {
	silent := resolver(t, func(dns.ResponseWriter, *dns.Msg) {})
	s := testServer(t, silent)
	running(t, s)
	began := time.Now()
	if resp := ask(s, "www.example.com.", dns.TypeA); resp.Rcode != dns.RcodeServerFailure {
		t.Errorf("answer %v", resp)
	}
	if took := time.Since(began); took > 2*tryTimeout {
		t.Errorf("the first question took %s", took)
	}
	began = time.Now()
	for i := range 20 {
		ask(s, fmt.Sprintf("www%d.example.com.", i), dns.TypeA)
	}
	if took := time.Since(began); took > tryTimeout {
		t.Errorf("20 questions while offline took %s", took)
	}
	if resp := ask(s, "web.shop.svc.cluster.local.", dns.TypeA); len(resp.Answer) != 1 {
		t.Errorf("cluster name while offline: %v", resp)
	}
}

func FuzzRespond(f *testing.F) {
	for _, name := range []string{"web.shop.svc.cluster.local.", "7.0.42.10.in-addr.arpa.", "10-42-0-7.shop.pod.cluster.local.", "x."} {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		m.SetEdns0(4096, true)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := testServer(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		req := new(dns.Msg)
		if req.Unpack(b) != nil {
			return
		}
		resp := s.respond(context.Background(), req)
		fit(req, resp, false)
		out, err := resp.Pack()
		if err != nil {
			return // a name that cannot be packed was never on a wire
		}
		if len(out) > payload {
			t.Errorf("an answer of %d bytes", len(out))
		}
	})
}

func BenchmarkRespond(b *testing.B) {
	s := testServer(b)
	req := new(dns.Msg)
	req.SetQuestion("web.shop.svc.cluster.local.", dns.TypeA)
	for b.Loop() {
		s.respond(context.Background(), req)
	}
}
