package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const (
	// dialTimeout bounds the connection to an endpoint, which is near.
	dialTimeout = 5 * time.Second
	// udpIdle ends a UDP conversation without packets, as the kernel's
	// connection tracking does for a stream (nf_conntrack_udp_timeout_stream).
	udpIdle = 120 * time.Second
	// acceptPause keeps a failing accept from spinning.
	acceptPause = 10 * time.Millisecond
)

// relays answer node ports on the host's loopback. Packets to 127.0.0.1 cannot
// leave the host, so the rules cannot help; this is plain copying in userspace.
type relays struct {
	log   *slog.Logger
	taken func(svc *corev1.Service, port localPort, err error)

	mu     sync.Mutex
	active map[relayKey]*relay
}

type relayKey struct {
	service string
	proto   uint8
	port    uint16
}

func newRelays(log *slog.Logger, taken func(*corev1.Service, localPort, error)) *relays {
	return &relays{log: log, taken: taken, active: map[relayKey]*relay{}}
}

// set makes the relays of one service those for ports.
func (r *relays) set(service string, svc *corev1.Service, ports []localPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := map[relayKey]localPort{}
	for _, p := range ports {
		key := relayKey{service, p.proto, p.port}
		if old, dup := wanted[key]; len(p.pool.slots) > 0 && (!dup || old.pool.v6) && p.proto != unix.IPPROTO_SCTP {
			wanted[key] = p
		}
	}
	for key, rl := range r.active {
		if _, stays := wanted[key]; key.service == service && !stays {
			rl.close()
			delete(r.active, key)
		}
	}
	for key, port := range wanted {
		if rl := r.active[key]; rl != nil {
			rl.setBackends(port.pool.slots)
			continue
		}
		rl := &relay{proto: port.proto, port: port.port}
		rl.setBackends(port.pool.slots)
		if err := rl.listen(); err != nil {
			r.taken(svc, port, err)
		}
		r.active[key] = rl
	}
}

func (r *relays) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, rl := range r.active {
		rl.close()
		delete(r.active, key)
	}
}

// relay is one node port on loopback.
type relay struct {
	proto    uint8
	port     uint16
	backends atomic.Pointer[[]netip.AddrPort]
	closers  []io.Closer
}

func (r *relay) setBackends(list []netip.AddrPort) { r.backends.Store(&list) }

func (r *relay) close() {
	for _, c := range r.closers {
		_ = c.Close()
	}
}

// listen opens the port on both loopback addresses. A host without IPv6 has
// only one of them.
func (r *relay) listen() error {
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		addr := net.JoinHostPort(host, strconv.Itoa(int(r.port)))
		err := r.listenOn(addr)
		if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT) {
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (r *relay) listenOn(addr string) error {
	if r.proto == unix.IPPROTO_UDP {
		c, err := net.ListenPacket("udp", addr)
		if err != nil {
			return err
		}
		r.closers = append(r.closers, c)
		go r.serveUDP(c)
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	r.closers = append(r.closers, l)
	go r.serveTCP(l)
	return nil
}

// order is the endpoints in a random order: the first is tried first.
func (r *relay) order() []netip.AddrPort {
	list := append([]netip.AddrPort(nil), *r.backends.Load()...)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (r *relay) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause) // descriptors are short: let some be closed
			continue
		}
		go r.join(c.(*net.TCPConn))
	}
}

// join copies both ways until both ends have finished, and hands each end's
// finish on by itself.
func (r *relay) join(client *net.TCPConn) {
	defer func() { _ = client.Close() }()
	server := r.dialTCP()
	if server == nil {
		_ = client.SetLinger(0) // a reset tells the client that nobody is there
		return
	}
	defer func() { _ = server.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
	}()
	_, _ = io.Copy(client, server)
	_ = client.CloseWrite()
	<-done
}

func (r *relay) dialTCP() *net.TCPConn {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	for _, ep := range r.order() {
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", ep.String()); err == nil {
			return c.(*net.TCPConn)
		}
	}
	return nil
}

func (r *relay) serveUDP(front net.PacketConn) {
	var mu sync.Mutex
	sessions := map[string]net.Conn{}
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range sessions {
			_ = c.Close()
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, client, err := front.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		mu.Lock()
		back := sessions[client.String()]
		mu.Unlock()
		if back == nil {
			endpoints := r.order()
			if len(endpoints) == 0 {
				continue
			}
			if back, err = net.Dial("udp", endpoints[0].String()); err != nil {
				continue
			}
			mu.Lock()
			sessions[client.String()] = back
			mu.Unlock()
			go func() {
				answer(front, client, back)
				mu.Lock()
				delete(sessions, client.String())
				mu.Unlock()
				_ = back.Close()
			}()
		}
		_ = back.SetReadDeadline(time.Now().Add(udpIdle))
		_, _ = back.Write(buf[:n])
	}
}

// answer copies datagrams back to the client until the conversation is idle or
// the endpoint is gone.
func answer(front net.PacketConn, client net.Addr, back net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := back.Read(buf)
		if err != nil {
			return
		}
		_ = back.SetReadDeadline(time.Now().Add(udpIdle))
		if _, err := front.WriteTo(buf[:n], client); err != nil {
			return
		}
	}
}
