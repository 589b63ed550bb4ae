package proxy

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/internal/kernel/nft"
)

var update = flag.Bool("update", false, "write the golden files")

// samples are the services of the golden file.
func samples(set func(*corev1.Service, *discoveryv1.EndpointSlice)) {
	a, b, out := netip.MustParseAddr("10.42.0.5"), netip.MustParseAddr("10.42.0.6"), netip.MustParseAddr("192.0.2.7")
	set(service("web", "10.43.0.50", 80, 30080), slice("web", a, b))
	set(service("empty", "10.43.0.51", 80, 30081), slice("empty"))
	set(service("external", "10.43.0.52", 443, 0), slice("external", out))
	sticky := service("sticky", "10.43.0.53", 80, 0)
	sticky.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	set(sticky, slice("sticky", a))
	local := service("local", "10.43.0.54", 80, 30084)
	local.Spec.Type = corev1.ServiceTypeLoadBalancer
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	local.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.100"}}
	away := slice("local", b)
	other := "other"
	away.Endpoints[0].NodeName = &other
	set(local, away)
	ext := service("claimed", "10.43.0.55", 80, 0)
	ext.Spec.ExternalIPs = []string{"192.0.2.200"}
	set(ext, slice("claimed", a))
	headless := service("headless", corev1.ClusterIPNone, 80, 0)
	set(headless, slice("headless", a))
}

// text prints elements for people.
func text(elements map[element]string) string {
	var lines []string
	for e, data := range elements {
		m := familyOfElement(e).mapOf(e.kind)
		line := m.Name + " " + m.FormatKey(e.key)
		if d := m.FormatData(data); d != "" {
			line += " : " + d
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func familyOfElement(e element) family { return families()[btoi(e.v6)] }

func TestRulesGolden(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	p := New(testDeps())
	samples(func(svc *corev1.Service, s *discoveryv1.EndpointSlice) {
		p.view.SetService(nil, svc)
		p.view.SetSlice(nil, s)
	})
	conn, err := nft.Open("skt")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := &syncer{p: p, conn: conn, state: newState()}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	got := text(s.state.want)
	path := filepath.Join("testdata", "rules.golden")
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
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	// What the kernel says that it has is the same.
	read := newState()
	if err := read.load(conn); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text(read.kernel)); diff != "" {
		t.Errorf("read back from the kernel (-want +got):\n%s", diff)
	}
}

func TestArrangeChangesLittle(t *testing.T) {
	ep := func(i int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:80", i)) }
	eps := func(is ...int) (list []netip.AddrPort) {
		for _, i := range is {
			list = append(list, ep(i))
		}
		return list
	}
	for name, c := range map[string]struct{ before, want, out []netip.AddrPort }{
		"first":        {nil, eps(1, 2), eps(1, 2)},
		"one more":     {eps(2, 1), eps(1, 2, 3), eps(2, 1, 3)},
		"one less":     {eps(1, 2, 3, 4), eps(1, 3, 4), eps(1, 4, 3)},
		"the last one": {eps(1, 2, 3), eps(1, 2), eps(1, 2)},
		"replaced":     {eps(1, 2, 3), eps(1, 3, 9), eps(1, 9, 3)},
		"none":         {eps(1, 2), nil, []netip.AddrPort{}},
	} {
		if got := arrange(c.before, c.want); !slices.Equal(got, c.out) {
			t.Errorf("%s: %v, want %v", name, got, c.out)
		}
	}
}

func TestUsableEndpoints(t *testing.T) {
	addr := netip.MustParseAddrPort("10.0.0.1:80")
	ready, ending := candidate{addr: addr, ready: true}, candidate{addr: addr, serving: true, terminating: true}
	dead := candidate{addr: addr, terminating: true}
	all := func(candidate) bool { return true }
	for name, c := range map[string]struct {
		in   []candidate
		want int
	}{
		"ready before ending": {[]candidate{ready, ending}, 1},
		"ending for want":     {[]candidate{ending, dead}, 1},
		"none":                {[]candidate{dead}, 0},
	} {
		if got := usable(c.in, all); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestTwoServicesWithOneAddress(t *testing.T) {
	s := newState()
	key := string(nft.Key{}.Addr(netip.MustParseAddr("192.0.2.1")).Proto(6).Port(80))
	e := element{mapServices, false, key}
	rs := func(data string) *ruleset { return &ruleset{elements: map[element]string{e: data}} }
	s.set("ns/first", rs("one"))
	s.set("ns/second", rs("two"))
	if s.want[e] != "one" {
		t.Errorf("the second service took the address")
	}
	if again := s.set("ns/first", nil); !slices.Equal(again, []string{"ns/second"}) {
		t.Errorf("looked at again: %v", again)
	}
	s.set("ns/second", rs("two"))
	if s.want[e] != "two" {
		t.Errorf("the address was not handed over")
	}
	s.set(localPrefix+"0", rs("mine"))
	if s.want[e] != "mine" {
		t.Errorf("the node's own service did not win")
	}
}

// TestServicesOfOtherProxies: a label hands a Service to another proxy, which
// may use the same addresses.
func TestServicesOfOtherProxies(t *testing.T) {
	eps := []*discoveryv1.EndpointSlice{slice("web", netip.MustParseAddr("10.42.0.5"))}
	for label, want := range map[string]bool{
		"app": true, "service.kubernetes.io/service-proxy-name": false, corev1.IsHeadlessService: false,
	} {
		svc := service("web", "10.43.0.50", 80, 30080)
		svc.Labels = map[string]string{label: "x"}
		if rs := (planner{nodeName: "n"}).plan(svc, eps, nil); (len(rs.elements) > 0) != want {
			t.Errorf("%s: %d elements", label, len(rs.elements))
		}
	}
}
