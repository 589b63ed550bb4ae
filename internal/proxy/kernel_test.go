package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/internal/kernel/nft"
	"go.skiff.dev/skiff/internal/podnet"
)

// cluster is a node with pods, a host outside, and a running proxy.
type cluster struct {
	t       *testing.T
	net     *podnet.Network
	proxy   *Proxy
	outside *os.File
	pods    map[string]*os.File
	addrs   map[string]netip.Addr
	stop    func()
}

func testDeps() Deps {
	return Deps{NodeName: "node", Table: "skt", Bridge: "skt0",
		ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
		Log: slog.New(slog.DiscardHandler)}
}

func newCluster(t *testing.T, deps Deps, pods ...string) *cluster {
	t.Helper()
	dir := t.TempDir()
	n, err := podnet.New(podnet.Options{Name: "test", Bridge: deps.Bridge, LinkPrefix: "skt", Table: deps.Table,
		PodCIDR: netip.MustParsePrefix("10.42.0.0/24"), ClusterCIDR: deps.ClusterCIDR, ServiceCIDR: deps.ServiceCIDR,
		StateDir: dir, Ledger: filepath.Join(dir, "ledger.json"), Log: deps.Log})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, net: n, outside: kerneltest.NewNetns(t), pods: map[string]*os.File{}, addrs: map[string]netip.Addr{}}
	kerneltest.Uplink(t, c.outside)
	for _, name := range pods {
		ns := kerneltest.NewNetns(t)
		at, err := n.Attach(t.Context(), name, ns, podnet.AttachOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.pods[name], c.addrs[name] = ns, at.IPs[0]
		kerneltest.ServeTCP(t, ns, ":8080", name)
		kerneltest.ServeUDP(t, ns, ":8080", name)
	}
	c.start(deps)
	return c
}

// start runs a proxy, like a process that comes up.
func (c *cluster) start(deps Deps) {
	c.t.Helper()
	c.proxy = New(deps)
	c.run()
}

func (c *cluster) run() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- c.proxy.Component().Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		c.t.Fatal(err)
	}
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Log(err)
		}
	})
	c.t.Cleanup(c.stop)
}

// sync waits until all that was set before is in the kernel.
func (c *cluster) sync() {
	done := make(chan struct{})
	v := c.proxy.view
	v.Lock()
	v.waiting = append(v.waiting, done)
	v.mark("!/none")
	v.Unlock()
	<-done
}

func service(name, ip string, port, nodePort int32) *corev1.Service {
	typ := corev1.ServiceTypeClusterIP
	if nodePort != 0 {
		typ = corev1.ServiceTypeNodePort
	}
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{
		Type: typ, ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		Ports: []corev1.ServicePort{
			{Name: "t", Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromString("web"), NodePort: nodePort},
			{Name: "u", Protocol: corev1.ProtocolUDP, Port: port, TargetPort: intstr.FromString("web"), NodePort: nodePort},
		}}}
}

func slice(svc string, addrs ...netip.Addr) *discoveryv1.EndpointSlice {
	tcp, udp, port := corev1.ProtocolTCP, corev1.ProtocolUDP, int32(8080)
	t, u, node, yes := "t", "u", "node", true
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: svc + "-x",
		Labels: map[string]string{discoveryv1.LabelServiceName: svc}}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: &t, Protocol: &tcp, Port: &port}, {Name: &u, Protocol: &udp, Port: &port}}}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.String()}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes}})
	}
	return s
}

func (c *cluster) set(svc *corev1.Service, endpoints ...string) {
	c.t.Helper()
	var addrs []netip.Addr
	for _, e := range endpoints {
		addrs = append(addrs, c.addrs[e])
	}
	c.proxy.view.SetService(nil, svc)
	c.proxy.view.SetSlice(nil, slice(svc.Name, addrs...))
	c.sync()
}

// who asks many times and returns which pods answered, with the client's
// address as they saw it.
func (c *cluster) who(from *os.File, addr string) map[string]string {
	c.t.Helper()
	seen := map[string]string{}
	for range 40 {
		pod, client, _ := strings.Cut(kerneltest.AskFrom(c.t, from, addr), " ")
		seen[pod] = client
	}
	return seen
}

func refused(t *testing.T, from *os.File, addr string) {
	t.Helper()
	began := time.Now()
	_, err := kerneltest.TryFrom(from, addr)
	if !errors.Is(err, unix.ECONNREFUSED) || time.Since(began) > time.Second {
		t.Errorf("%s: %v after %s, want to be refused at once", addr, err, time.Since(began))
	}
}

func TestServicesAnswer(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	for _, bridged := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+bridged, func(t *testing.T) {
			_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte(bridged), 0)
			c := newCluster(t, testDeps(), "a", "b", "client")
			defer func() {
				c.stop()
				if err := c.net.Teardown(); err != nil {
					t.Error(err)
				}
			}()
			testServices(t, c)
		})
	}
}

func testServices(t *testing.T, c *cluster) {
	refused(t, nil, "10.43.0.50:80")
	refused(t, c.pods["client"], "10.43.0.50:80")
	c.set(service("web", "10.43.0.50", 80, 30080))
	refused(t, c.pods["client"], "10.43.0.50:80")
	refused(t, c.outside, "192.0.2.1:30080")
	refused(t, nil, "192.0.2.1:30080")
	refused(t, nil, "127.0.0.1:30080")
	refused(t, c.pods["client"], "10.43.0.50:81")

	c.set(service("web", "10.43.0.50", 80, 30080), "a", "b")
	for name, q := range map[string]struct {
		from           *os.File
		addr, wantAddr string
	}{
		"pod to cluster IP":          {c.pods["client"], "10.43.0.50:80", c.addrs["client"].String()},
		"host to cluster IP":         {nil, "10.43.0.50:80", "10.42.0.1"},
		"outside to node port":       {c.outside, "192.0.2.1:30080", "192.0.2.2"},
		"pod to node port":           {c.pods["client"], "192.0.2.1:30080", c.addrs["client"].String()},
		"host to node port":          {nil, "192.0.2.1:30080", "192.0.2.1"},
		"host to node port on lo":    {nil, "127.0.0.1:30080", "10.42.0.1"},
		"host to node port on lo v6": {nil, "[::1]:30080", "10.42.0.1"},
		"host to node port, bridge":  {nil, "10.42.0.1:30080", "10.42.0.1"},
	} {
		seen := c.who(q.from, q.addr)
		if len(seen) != 2 || seen["a"] != q.wantAddr || seen["b"] != q.wantAddr {
			t.Errorf("%s: answers %v, want a and b to see %s", name, seen, q.wantAddr)
		}
	}
	if seen := c.who(c.pods["a"], "10.43.0.50:80"); len(seen) != 2 || seen["a"] != "10.42.0.1" || seen["b"] != c.addrs["a"].String() {
		t.Errorf("pod through its own service: answers %v", seen)
	}
	c.set(service("web", "10.43.0.50", 80, 30080), "b")
	if seen := c.who(c.pods["client"], "10.43.0.50:80"); len(seen) != 1 || seen["b"] == "" {
		t.Errorf("after an endpoint left: answers %v", seen)
	}
	// An endpoint that ends is used while there is no other.
	if err := c.proxy.Drain(t.Context(), c.addrs["b"]); err != nil {
		t.Fatal(err)
	}
	if seen := c.who(c.pods["client"], "10.43.0.50:80"); seen["b"] == "" {
		t.Errorf("draining the only endpoint: answers %v", seen)
	}
	c.set(service("web", "10.43.0.50", 80, 30080), "a", "b")
	if seen := c.who(nil, "10.43.0.50:80"); len(seen) != 1 || seen["a"] == "" {
		t.Errorf("draining b: answers %v", seen)
	}
	c.proxy.view.SetService(service("web", "10.43.0.50", 80, 30080), nil)
	c.sync()
	refused(t, c.pods["client"], "10.43.0.50:80")
	refused(t, nil, "127.0.0.1:30080")
	if kernel := c.proxy.relays.active; len(kernel) != 0 {
		t.Errorf("relays left: %v", kernel)
	}
}

func TestUDPFollowsTheEndpoints(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	c := newCluster(t, testDeps(), "a", "b", "client")
	c.set(service("web", "10.43.0.50", 80, 30080), "a")
	var conn net.Conn
	dial := func(from *os.File, addr string) func() string {
		err := kerneltest.InNetns(from, func() (err error) { conn, err = net.Dial("udp", addr); return err })
		if err != nil {
			t.Fatal(err)
		}
		client := conn
		return func() string {
			buf := make([]byte, 64)
			_ = client.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := client.Write([]byte("?")); err != nil {
				return err.Error()
			}
			n, err := client.Read(buf)
			if err != nil {
				return err.Error()
			}
			return string(buf[:n])
		}
	}
	clusterIP := dial(c.pods["client"], "10.43.0.50:80")
	nodePort := dial(c.outside, "192.0.2.1:30080")
	if a, n := clusterIP(), nodePort(); a != "a" || n != "a" {
		t.Fatalf("answers %q, %q", a, n)
	}
	c.set(service("web", "10.43.0.50", 80, 30080), "b")
	if a, n := clusterIP(), nodePort(); a != "b" || n != "b" {
		t.Errorf("after the endpoint changed the same sockets get %q, %q", a, n)
	}
	c.set(service("web", "10.43.0.50", 80, 30080))
	if a := clusterIP(); !strings.Contains(a, "refused") {
		t.Errorf("without endpoints: %q", a)
	}
	c.set(service("web", "10.43.0.50", 80, 30080), "a")
	if a, n := clusterIP(), nodePort(); a != "a" || n != "a" {
		t.Errorf("after an endpoint came: %q, %q", a, n)
	}
}

func TestStickyClients(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	c := newCluster(t, testDeps(), "a", "b", "client")
	svc := service("web", "10.43.0.50", 80, 30080)
	svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	c.set(svc, "a", "b")
	seen := c.who(c.pods["client"], "10.43.0.50:80")
	if len(seen) != 1 {
		t.Errorf("a sticky client got %v", seen)
	}
	for first := range seen {
		other := map[string]string{"a": "b", "b": "a"}[first]
		c.set(svc, other)
		if seen := c.who(c.pods["client"], "10.43.0.50:80"); len(seen) != 1 || seen[other] == "" {
			t.Errorf("after its endpoint left a sticky client got %v", seen)
		}
	}
	if seen := c.who(c.outside, "192.0.2.1:30080"); len(seen) != 1 {
		t.Errorf("a sticky client of the node port got %v", seen)
	}
}

// A proxy that was killed finds its rules again, and what changed meanwhile.
func TestRestart(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	c := newCluster(t, testDeps(), "a", "b", "client")
	c.set(service("web", "10.43.0.50", 80, 30080), "a")
	c.set(service("old", "10.43.0.51", 80, 0), "a")
	c.stop()
	if got := kerneltest.AskFrom(t, c.pods["client"], "10.43.0.50:80"); !strings.HasPrefix(got, "a ") {
		t.Errorf("without a proxy: %q", got)
	}
	c.proxy = New(testDeps())
	c.proxy.view.SetService(nil, service("web", "10.43.0.50", 80, 30080))
	c.proxy.view.SetSlice(nil, slice("web", c.addrs["a"], c.addrs["b"]))
	c.run()
	if seen := c.who(c.pods["client"], "10.43.0.50:80"); len(seen) != 2 {
		t.Errorf("after the restart: %v", seen)
	}
	refused(t, nil, "10.43.0.51:80")
	c.stop()
	if err := c.proxy.Teardown(); err != nil {
		t.Error(err)
	}
	conn, err := nft.Open("skt")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if left, err := conn.MapNames(); err != nil || slices.ContainsFunc(left, func(n string) bool { return !strings.HasPrefix(n, "hostports") }) {
		t.Errorf("maps after Teardown: %v, error %v", left, err)
	}
}

func TestPortTaken(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	deps := testDeps()
	var log strings.Builder
	deps.Log = slog.New(slog.NewTextHandler(&log, nil))
	c := newCluster(t, deps, "a")
	l, err := net.Listen("tcp", "127.0.0.1:30080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.set(service("web", "10.43.0.50", 80, 30080), "a")
	c.stop()
	if text := log.String(); !strings.Contains(text, "port=30080") || !strings.Contains(text, fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("log %q does not name the holder of the port", text)
	}
}

func TestServicesOfTheNodeItself(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	deps := testDeps()
	dns := netip.MustParseAddrPort("10.43.0.10:53")
	var local []LocalService
	for _, proto := range []string{"UDP", "TCP"} {
		local = append(local, LocalService{Name: "kube-system/kube-dns", Frontend: dns, Protocol: proto,
			Backends: []netip.AddrPort{netip.MustParseAddrPort("10.42.0.1:5353")}})
	}
	deps.Local = func() []LocalService { return local }
	c := newCluster(t, deps, "client")
	kerneltest.ServeTCP(t, nil, "10.42.0.1:5353", "dns")
	kerneltest.ServeUDP(t, nil, "10.42.0.1:5353", "dns")
	// A Service of the API with the same address does not take it away.
	kubeDNS := service("kube-dns", "10.43.0.10", 53, 0)
	c.proxy.view.SetService(nil, kubeDNS)
	c.sync()
	for _, from := range []*os.File{c.pods["client"], nil} {
		if got, err := kerneltest.TryFrom(from, dns.String()); err != nil || !strings.HasPrefix(got, "dns ") {
			t.Errorf("TCP: answer %q, error %v", got, err)
		}
	}
	var answer string
	err := kerneltest.InNetns(c.pods["client"], func() error {
		conn, err := net.Dial("udp", dns.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write([]byte("?")); err != nil {
			return err
		}
		buf := make([]byte, 64)
		n, err := conn.Read(buf)
		answer = string(buf[:n])
		return err
	})
	if err != nil || answer != "dns" {
		t.Errorf("UDP: answer %q, error %v", answer, err)
	}
}

// served returns when the pod's server has answered all that was on its way
// before the pod was drained: after a while, which is longer than a busy machine
// keeps a packet waiting, no connection to port 9090 is in the making or open.
func served(t *testing.T, netns *os.File) {
	t.Helper()
	const listening, timeWait, port = "0A", "06", ":2382"
	busy := func() (busy bool) {
		err := kerneltest.InNetns(netns, func() error {
			for _, file := range []string{"tcp", "tcp6"} {
				data, err := os.ReadFile("/proc/thread-self/net/" + file)
				if err != nil {
					return err
				}
				for line := range strings.Lines(string(data)) {
					// The fields: number, local and remote address, state, queues.
					f := strings.Fields(line)
					if strings.HasSuffix(f[1], port) && f[3] != timeWait && (f[3] != listening || !strings.HasSuffix(f[4], ":00000000")) {
						busy = true
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return busy
	}
	for first := true; first || busy(); first = false {
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the kernel tells nobody that its backlog is empty
	}
}

// Endpoints come and go under constant requests, each drained before it stops
// listening, as the node agent does.
func TestDrainingLosesNoConnection(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	c := newCluster(t, testDeps(), "client", "x", "y")
	svc := service("web", "10.43.0.50", 9090, 30090)
	svc.Spec.Ports = svc.Spec.Ports[:1]
	listen := func(pod string) net.Listener {
		var l net.Listener
		err := kerneltest.InNetns(c.pods[pod], func() (err error) { l, err = net.Listen("tcp", ":9090"); return err })
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(pod))
				_ = conn.Close()
			}
		}()
		return l
	}
	set := func(pods ...string) {
		var addrs []netip.Addr
		for _, p := range pods {
			addrs = append(addrs, c.addrs[p])
		}
		s := slice("web", addrs...)
		*s.Ports[0].Port = 9090
		c.proxy.view.SetSlice(nil, s)
		c.sync()
	}
	listeners := map[string]net.Listener{"x": listen("x"), "y": listen("y")}
	c.proxy.view.SetService(nil, svc)
	set("x", "y")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var asked, lost atomic.Int32
	for _, q := range []struct {
		from *os.File
		addr string
	}{{c.pods["client"], "10.43.0.50:9090"}, {c.outside, "192.0.2.1:30090"}, {nil, "127.0.0.1:30090"}} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked.Add(1)
				if _, err := kerneltest.TryFrom(q.from, q.addr); err != nil {
					lost.Add(1)
					t.Error(err)
				}
			}
		})
	}
	for range 10 {
		for pod, other := range map[string]string{"x": "y", "y": "x"} {
			if err := c.proxy.Drain(t.Context(), c.addrs[pod]); err != nil {
				t.Fatal(err)
			}
			served(t, c.pods[pod])
			_ = listeners[pod].Close()
			set(other)
			listeners[pod] = listen(pod)
			set(pod, other)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests, %d lost", asked.Load(), lost.Load())
}
