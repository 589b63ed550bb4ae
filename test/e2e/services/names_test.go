package services

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

// names asks the cluster's DNS as a client would, by the specification
// (kubernetes/dns, docs/specification.md, 1.1.0).
func names(t *testing.T, s *cluster.Space) {
	conf := s.Exec("one", "c", "/talk", "file", "/etc/resolv.conf")
	_, rest, _ := strings.Cut(conf, "nameserver ")
	address, _, _ := strings.Cut(rest, "\n")
	server := net.JoinHostPort(address, "53")
	one, two := s.Pod("one").Status.PodIP, s.Pod("two").Status.PodIP
	pair := service(s, t, "pair").Spec.ClusterIP
	const zone = ".services.svc.cluster.local."
	for _, c := range []struct {
		name string
		kind uint16
		want []string
	}{
		{"pair" + zone, dns.TypeA, []string{"A " + pair}},
		{"PaIr" + zone, dns.TypeA, []string{"A " + pair}},
		{"pair" + zone, dns.TypeAAAA, nil},
		{"_main._tcp.pair" + zone, dns.TypeSRV, []string{"SRV 80 pair" + zone}},
		{"_main-udp._udp.pair" + zone, dns.TypeSRV, []string{"SRV 80 pair" + zone}},
		{"headless" + zone, dns.TypeA, []string{"A " + one, "A " + two}},
		{"one.headless" + zone, dns.TypeA, []string{"A " + one}},
		{"_main._tcp.headless" + zone, dns.TypeSRV, []string{"SRV 8080 one.headless" + zone, "SRV 8081 two.headless" + zone}},
		{"lame.unready" + zone, dns.TypeA, []string{"A " + s.Pod("lame").Status.PodIP}},
		{"alias" + zone, dns.TypeCNAME, []string{"CNAME pair" + zone}},
		{"alias" + zone, dns.TypeA, []string{"A " + pair, "CNAME pair" + zone}},
		{reverse(t, pair), dns.TypePTR, []string{"PTR pair" + zone}},
		{reverse(t, one), dns.TypePTR, []string{"PTR one.headless" + zone}},
		{strings.ReplaceAll(one, ".", "-") + ".services.pod.cluster.local.", dns.TypeA, []string{"A " + one}},
		{"dns-version.cluster.local.", dns.TypeTXT, []string{`TXT 1.1.0`}},
		{"kubernetes.default.svc.cluster.local.", dns.TypeA, []string{"A " + apiAddress(t, s)}},
	} {
		// Answers come in any order; query sorts them.
		slices.Sort(c.want)
		for _, network := range []string{"udp", "tcp"} {
			t.Run(network+" "+dns.TypeToString[c.kind]+" "+c.name, func(t *testing.T) {
				cluster.Until(t, func() error {
					got, code, err := query(server, network, c.name, c.kind)
					if err != nil || code != dns.RcodeSuccess || !slices.Equal(got, c.want) {
						return fmt.Errorf("%q, %s, %v; want %q", got, dns.RcodeToString[code], err, c.want)
					}
					return nil
				})
			})
		}
	}
	for _, name := range []string{"nothing" + zone, "three.headless" + zone, "pair.nowhere.svc.cluster.local.", "_none._tcp.pair" + zone} {
		if got, code, err := query(server, "udp", name, dns.TypeA); err != nil || code != dns.RcodeNameError {
			t.Errorf("%s: %q, %s, %v; want NXDOMAIN", name, got, dns.RcodeToString[code], err)
		}
	}
	for _, name := range []string{"pair", "pair.services", "pair.services.svc", "pair.services.svc.cluster.local", "pair.services.svc.cluster.local."} {
		if _, err := from(s, "one", "tcp", name+":80"); err != nil {
			t.Errorf("by search path: %v", err)
		}
	}
}

func apiAddress(t *testing.T, s *cluster.Space) string {
	t.Helper()
	svc, err := s.Client.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return svc.Spec.ClusterIP
}

func reverse(t *testing.T, ip string) string {
	t.Helper()
	name, err := dns.ReverseAddr(ip)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// query gives the answers in short: type and content, sorted.
func query(server, network, name string, kind uint16) ([]string, int, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	answer, _, err := (&dns.Client{Net: network, Timeout: 2 * time.Second}).Exchange(m, server)
	if err != nil {
		return nil, 0, err
	}
	var short []string
	for _, rr := range answer.Answer {
		switch r := rr.(type) {
		case *dns.A:
			short = append(short, "A "+r.A.String())
		case *dns.SRV:
			short = append(short, fmt.Sprintf("SRV %d %s", r.Port, r.Target))
		case *dns.CNAME:
			short = append(short, "CNAME "+r.Target)
		case *dns.PTR:
			short = append(short, "PTR "+r.Ptr)
		case *dns.TXT:
			short = append(short, "TXT "+strings.Join(r.Txt, ""))
		default:
			short = append(short, rr.String())
		}
	}
	slices.Sort(short)
	return short, answer.Rcode, nil
}
