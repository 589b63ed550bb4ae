package podnet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/internal/kernel/kerneltest"
	"skiff.dev/skiff/internal/kernel/netlink"
)

// newNetns makes a network namespace and returns its file.
func newNetns(tb testing.TB) *os.File {
	tb.Helper()
	type result struct {
		f   *os.File
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- result{f, err}
	}()
	r := <-made
	if r.err != nil {
		tb.Fatal(r.err)
	}
	tb.Cleanup(func() { _ = r.f.Close() })
	return r.f
}

// inNetns runs f on a thread in the namespace.
func inNetns(netns *os.File, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

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

// echo answers each TCP connection to the port with the client's address.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).IP.String())
		_ = c.Close()
	}
}

func serve(tb testing.TB, netns *os.File, addr string) {
	tb.Helper()
	err := inNetns(netns, func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		tb.Cleanup(func() { _ = l.Close() })
		go echo(l)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func ask(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	b, err := io.ReadAll(c)
	return string(b), err
}

func askFrom(tb testing.TB, netns *os.File, addr string) string {
	tb.Helper()
	var answer string
	err := inNetns(netns, func() (err error) { answer, err = ask(addr); return err })
	if err != nil {
		tb.Errorf("asking %s: %v", addr, err)
	}
	return answer
}

func attach(tb testing.TB, n *Network, id string, opts AttachOptions) (*os.File, Attachment) {
	tb.Helper()
	ns := newNetns(tb)
	at, err := n.Attach(tb.Context(), id, ns, opts)
	if err != nil {
		tb.Fatal(err)
	}
	return ns, at
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
			began := time.Now()
			serve(t, a, ":80")
			serve(t, b, ":80")
			addrA, addrB := atA.IPs[0].String(), atB.IPs[0].String()
			if got, err := ask(addrB + ":80"); err != nil || got != atB.Gateway.String() {
				t.Errorf("node to pod: answer %q, error %v", got, err)
			}
			if got := askFrom(t, a, addrB+":80"); got != addrA {
				t.Errorf("pod to pod: source %q, want %q", got, addrA)
			}
			if got := askFrom(t, b, addrA+":80"); got != addrB {
				t.Errorf("pod to pod: source %q, want %q", got, addrB)
			}
			if got := askFrom(t, a, addrA+":80"); got != addrA {
				t.Errorf("pod to itself: source %q, want %q", got, addrA)
			}
			if got := askFrom(t, a, "127.0.0.1:80"); got != "127.0.0.1" {
				t.Errorf("loopback: source %q", got)
			}
			if got := askFrom(t, a, "[::1]:80"); got != "::1" {
				t.Errorf("loopback: source %q", got)
			}
			if took := time.Since(began); took > 500*time.Millisecond {
				t.Errorf("six connections took %s: a packet was lost or waited for ARP", took)
			}
		})
	}
}

func TestHostPorts(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	n := started(t)
	outside := newNetns(t)
	uplink(t, outside)
	pod, at := attach(t, n, "a", AttachOptions{PortMappings: []PortMapping{
		{HostPort: 8080, ContainerPort: 80},
		{HostIP: netip.MustParseAddr("192.0.2.1"), HostPort: 8081, ContainerPort: 80, Protocol: "TCP"},
	}})
	serve(t, pod, ":80")
	serve(t, outside, ":9000")
	for _, addr := range []string{"192.0.2.1:8080", "192.0.2.1:8081", "10.42.0.1:8080"} {
		if got := askFrom(t, outside, addr); addr != "10.42.0.1:8080" && got != "192.0.2.2" {
			t.Errorf("%s from outside: source %q", addr, got)
		}
		if _, err := ask(addr); err != nil {
			t.Errorf("%s from the node: %v", addr, err)
		}
		if got := askFrom(t, pod, addr); got == "" {
			t.Errorf("%s from the pod itself: no answer", addr)
		}
	}
	if _, err := ask("10.42.0.1:8081"); err == nil {
		t.Error("a mapping of one host address answers on another")
	}
	if got := askFrom(t, pod, "192.0.2.2:9000"); got != "192.0.2.1" {
		t.Errorf("pod to the outside: source %q, want the node's", got)
	}
	if _, err := n.Attach(t.Context(), "b", newNetns(t), AttachOptions{PortMappings: []PortMapping{{HostPort: 8081}}}); err == nil {
		t.Error("a second pod got the same host port")
	}
	if err := n.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := ask("192.0.2.1:8080"); err == nil {
		t.Error("a host port answers after its pod was detached")
	}
	_ = at
}

// uplink joins the node to another host, 192.0.2.1 to 192.0.2.2.
func uplink(tb testing.TB, outside *os.File) {
	tb.Helper()
	node, err := netlink.DialRoute(nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer node.Close()
	other, err := netlink.DialRoute(outside)
	if err != nil {
		tb.Fatal(err)
	}
	defer other.Close()
	if err := node.Do(netlink.SetUp(loopbackIndex), netlink.AddVeth(netlink.Veth{Name: "up0", MTU: 1500, Peer: "eth0",
		PeerMAC: macFor(netip.MustParseAddr("192.0.2.2")), PeerNS: outside})); err != nil {
		tb.Fatal(err)
	}
	up, err := node.Link("up0")
	if err != nil {
		tb.Fatal(err)
	}
	eth, err := other.Link("eth0")
	if err != nil {
		tb.Fatal(err)
	}
	if err := other.Do(netlink.AddAddress(eth.Index, netip.MustParsePrefix("192.0.2.2/24")), netlink.SetUp(eth.Index), netlink.SetUp(loopbackIndex)); err != nil {
		tb.Fatal(err)
	}
	if err := node.Do(netlink.AddAddress(up.Index, netip.MustParsePrefix("192.0.2.1/24")), netlink.SetUp(up.Index)); err != nil {
		tb.Fatal(err)
	}
	if err := other.Do(netlink.AddRoute(netlink.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1"), Link: eth.Index})); err != nil {
		tb.Fatal(err)
	}
}

func TestConcurrentAttachAndDetach(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	n := started(t)
	const pods = 100
	spaces := make([]*os.File, pods)
	for i := range spaces {
		spaces[i] = newNetns(t)
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
	for b.Loop() {
		ns := newNetns(b)
		began := time.Now()
		if _, err := n.Attach(context.Background(), "pod", ns, AttachOptions{}); err != nil {
			b.Fatal(err)
		}
		attaching += time.Since(began)
		began = time.Now()
		if err := n.Detach(context.Background(), "pod"); err != nil {
			b.Fatal(err)
		}
		detaching += time.Since(began)
		ns.Close()
	}
	b.ReportMetric(float64(attaching.Microseconds())/float64(b.N), "us/attach")
	b.ReportMetric(float64(detaching.Microseconds())/float64(b.N), "us/detach")
}
