package proxy

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/internal/kernel/nft"
)

// load makes n services of three endpoints each.
func load(v *view, n int) {
	for i := range n {
		ip := netip.AddrFrom4([4]byte{10, 43, byte(1 + i/250), byte(1 + i%250)})
		svc := service(fmt.Sprint("s", i), ip.String(), 80, 0)
		svc.Spec.Ports = svc.Spec.Ports[:1]
		var eps []netip.Addr
		for e := range 3 {
			eps = append(eps, netip.AddrFrom4([4]byte{10, 42, byte(1 + i/250), byte(1 + (i+e)%250)}))
		}
		v.SetService(nil, svc)
		v.SetSlice(nil, slice(svc.Name, eps...))
	}
}

func BenchmarkLoad10000Services(b *testing.B) {
	if !kerneltest.Enter(b, kerneltest.Net) {
		return
	}
	for b.Loop() {
		p := New(testDeps())
		load(p.view, 10000)
		conn, err := nft.Open("skt")
		if err != nil {
			b.Fatal(err)
		}
		s := &syncer{p: p, conn: conn, state: newState()}
		if err := s.start(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := conn.DeleteTable(); err != nil {
			b.Fatal(err)
		}
		_ = conn.Close()
		b.StartTimer()
	}
}

// BenchmarkOneEndpoint measures one endpoint that comes or goes among 10,000
// services, from the slice's event to the end of the kernel's transaction.
func BenchmarkOneEndpoint(b *testing.B) {
	if !kerneltest.Enter(b, kerneltest.Net) {
		return
	}
	p := New(testDeps())
	load(p.view, 10000)
	conn, err := nft.Open("skt")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	s := &syncer{p: p, conn: conn, state: newState()}
	if err := s.start(); err != nil {
		b.Fatal(err)
	}
	a := netip.MustParseAddr("10.42.200.1")
	others := []netip.Addr{netip.MustParseAddr("10.42.200.2"), netip.MustParseAddr("10.42.200.3")}
	changed := 0
	began := time.Now()
	for i := 0; b.Loop(); i++ {
		eps := others
		if i%2 == 0 {
			eps = append([]netip.Addr{a}, others...)
		}
		p.view.SetSlice(nil, slice("s5000", eps...))
		w := p.view.take()
		s.plan(w)
		n, err := s.state.apply(conn, p.deps, false)
		if err != nil {
			b.Fatal(err)
		}
		s.after(w)
		changed = n
	}
	b.ReportMetric(float64(changed), "elements")
	b.ReportMetric(float64(time.Since(began).Microseconds())/float64(b.N), "us/change")
}
