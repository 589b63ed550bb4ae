package podnet

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
)

func options(tb testing.TB) Options {
	dir := tb.TempDir()
	return Options{
		Name: "test", Bridge: "skt0", LinkPrefix: "skt", Table: "skt",
		PodCIDR:     netip.MustParsePrefix("10.42.0.0/24"),
		ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
		StateDir:    dir, Ledger: filepath.Join(dir, "ledger.json"),
	}
}

func started(tb testing.TB) *Network {
	tb.Helper()
	n, err := New(options(tb))
	if err != nil {
		tb.Fatal(err)
	}
	if err := n.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = n.Close() })
	return n
}

func attach(tb testing.TB, n *Network, id string, opts AttachOptions) (*os.File, Attachment) {
	tb.Helper()
	ns := kerneltest.NewNetns(tb)
	at, err := n.Attach(tb.Context(), id, ns, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return ns, at
}

// sentAgain is how many TCP segments were retransmitted in a network namespace
// (nil: the test's own).
func sentAgain(tb testing.TB, netns *os.File) (count int) {
	tb.Helper()
	read := func() error {
		data, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			switch {
			case fields[0] != "Tcp:":
			case names == nil:
				names = fields
			default:
				count, err = strconv.Atoi(fields[slices.Index(names, "RetransSegs")])
			}
		}
		return err
	}
	err := read()
	if netns != nil {
		err = kerneltest.InNetns(netns, read)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return count
}

func TestPodsReachEachOtherAndTheNode(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	for _, bridged := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+bridged, func(t *testing.T) {
			if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte(bridged), 0); err != nil {
				t.Skip("this kernel has no bridge netfilter: ", err)
			}
			n := started(t)
			defer func() {
				if err := n.Teardown(); err != nil {
					t.Error(err)
				}
			}()
			a, atA := attach(t, n, "a", AttachOptions{})
			b, atB := attach(t, n, "b", AttachOptions{})
			kerneltest.ServeTCP(t, a, ":80")
			kerneltest.ServeTCP(t, b, ":80")
			addrA, addrB := atA.IPs[0].String(), atB.IPs[0].String()
			if got, err := kerneltest.Ask(addrB + ":80"); err != nil || got != atB.Gateway.String() {
				t.Errorf("node to pod: answer %q, error %v", got, err)
			}
			if got := kerneltest.AskFrom(t, a, addrB+":80"); got != addrA {
				t.Errorf("pod to pod: source %q, want %q", got, addrA)
			}
			if got := kerneltest.AskFrom(t, b, addrA+":80"); got != addrB {
				t.Errorf("pod to pod: source %q, want %q", got, addrB)
			}
			if got := kerneltest.AskFrom(t, a, addrA+":80"); got != addrA {
				t.Errorf("pod to itself: source %q, want %q", got, addrA)
			}
			if got := kerneltest.AskFrom(t, a, "127.0.0.1:80"); got != "127.0.0.1" {
				t.Errorf("loopback: source %q", got)
			}
			if got := kerneltest.AskFrom(t, a, "[::1]:80"); got != "::1" {
				t.Errorf("loopback: source %q", got)
			}
			for name, ns := range map[string]*os.File{"a": a, "b": b, "the node": nil} {
				if n := sentAgain(t, ns); n != 0 {
					t.Errorf("%s sent %d segments again: packets were lost", name, n)
				}
			}
		})
	}
}

func TestHostPorts(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	n := started(t)
	outside := kerneltest.NewNetns(t)
	kerneltest.Uplink(t, outside)
	pod, at := attach(t, n, "a", AttachOptions{PortMappings: []PortMapping{
		{HostPort: 8080, ContainerPort: 80},
		{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 8081, ContainerPort: 80, Protocol: "TCP"},
	}})
	kerneltest.ServeTCP(t, pod, ":80")
	kerneltest.ServeTCP(t, outside, ":9000")
	for _, addr := range []string{"192.0.2.1:8080", "192.0.2.1:8081", "10.42.0.1:8080"} {
		if got := kerneltest.AskFrom(t, outside, addr); addr != "10.42.0.1:8080" && got != "192.0.2.2" {
			t.Errorf("%s from outside: source %q", addr, got)
		}
		if _, err := kerneltest.Ask(addr); err != nil {
			t.Errorf("%s from the node: %v", addr, err)
		}
		if got := kerneltest.AskFrom(t, pod, addr); got == "" {
			t.Errorf("%s from the pod itself: no answer", addr)
		}
	}
	for _, addr := range []string{"127.0.0.1:8080", "[::1]:8080"} {
		if _, err := kerneltest.Ask(addr); err != nil {
			t.Errorf("%s from the node: %v", addr, err)
		}
	}
	if _, err := kerneltest.Ask("127.0.0.1:8081"); err == nil {
		t.Error("a mapping of one host address answers on loopback")
	}
	if _, err := kerneltest.Ask("10.42.0.1:8081"); err == nil {
		t.Error("a mapping of one host address answers on another")
	}
	if got := kerneltest.AskFrom(t, pod, "192.0.2.2:9000"); got != "192.0.2.1" {
		t.Errorf("pod to the outside: source %q, want the node's", got)
	}
	if _, err := n.Attach(t.Context(), "b", kerneltest.NewNetns(t), AttachOptions{PortMappings: []PortMapping{{HostPort: 8081}}}); err == nil {
		t.Error("a second pod got the same host port")
	}
	if err := n.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{"192.0.2.1:8080", "127.0.0.1:8080"} {
		if _, err := kerneltest.Ask(addr); err == nil {
			t.Errorf("host port %s answers after its pod was detached", addr)
		}
	}
	_ = at
}

func TestConcurrentAttachAndDetach(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	n := started(t)
	const pods = 100
	spaces := make([]*os.File, pods)
	for i := range spaces {
		spaces[i] = kerneltest.NewNetns(t)
	}
	began := time.Now()
	each := func(f func(i int) error) {
		var wg sync.WaitGroup
		for i := range pods {
			wg.Go(func() {
				if err := f(i); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	each(func(i int) error {
		_, err := n.Attach(t.Context(), fmt.Sprint("pod", i), spaces[i], AttachOptions{})
		return err
	})
	t.Logf("%d concurrent attaches took %s", pods, time.Since(began))
	seen := map[netip.Addr]bool{}
	for i := range pods {
		at, ok := n.Attachment(fmt.Sprint("pod", i))
		if !ok || seen[at.IPs[0]] {
			t.Errorf("pod %d: attachment %+v", i, at)
		}
		seen[at.IPs[0]] = true
	}
	began = time.Now()
	each(func(i int) error { return n.Detach(t.Context(), fmt.Sprint("pod", i)) })
	n.pending.Wait()
	t.Logf("%d concurrent detaches took %s", pods, time.Since(began))
	if len(n.addrs.inUse) != 0 {
		t.Errorf("%d addresses leaked", len(n.addrs.inUse))
	}
}

func BenchmarkAttach(b *testing.B) {
	if !kerneltest.Enter(b, kerneltest.Net) {
		return
	}
	n := started(b)
	var attaching, detaching time.Duration
	count := 0
	for ; b.Loop(); count++ {
		ns := kerneltest.NewNetns(b)
		began := time.Now()
		if _, err := n.Attach(context.Background(), fmt.Sprint("pod", count), ns, AttachOptions{}); err != nil {
			b.Fatal(err)
		}
		attaching += time.Since(began)
		began = time.Now()
		if err := n.Detach(context.Background(), fmt.Sprint("pod", count)); err != nil {
			b.Fatal(err)
		}
		detaching += time.Since(began)
		ns.Close()
	}
	b.ReportMetric(float64(attaching.Microseconds())/float64(b.N), "us/attach")
	b.ReportMetric(float64(detaching.Microseconds())/float64(b.N), "us/detach")
}
