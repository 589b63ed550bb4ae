// Package relay answers ports on the host's loopback by copying. A packet to
// 127.0.0.1 cannot leave the host unless route_localnet lets it, which opens the
// loopback to neighbours (CVE-2020-8558) and is never set; so node ports and host
// ports are answered there in userspace, and everywhere else by the kernel.
package relay

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
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

// Relay is one port.
type Relay struct {
	backends atomic.Pointer[[]netip.AddrPort]
	closers  []io.Closer
}

// Listen opens a port ("tcp" or "udp") on addresses of the host. One that the
// host does not have, such as ::1 without IPv6, is no error. If one is taken,
// the relay answers on the others, and comes back beside the error.
func Listen(network string, hosts []string, port uint16, backends []netip.AddrPort) (*Relay, error) {
	r := &Relay{}
	r.SetBackends(backends)
	var errs []error
	for _, host := range hosts {
		err := r.listen(network, net.JoinHostPort(host, strconv.Itoa(int(port))))
		if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT) {
			err = nil
		}
		errs = append(errs, err)
	}
	return r, errors.Join(errs...)
}

// SetBackends changes where new connections and conversations lead.
func (r *Relay) SetBackends(list []netip.AddrPort) { r.backends.Store(&list) }

// Close frees the port. Connections that are open go on.
func (r *Relay) Close() {
	for _, c := range r.closers {
		_ = c.Close()
	}
}

func (r *Relay) listen(network, addr string) error {
	if network == "udp" {
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
func (r *Relay) order() []netip.AddrPort {
	list := append([]netip.AddrPort(nil), *r.backends.Load()...)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (r *Relay) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause) //nolint:forbidigo // descriptors are short: nothing tells when one is closed
			continue
		}
		go r.join(c.(*net.TCPConn))
	}
}

// join copies both ways until both ends have finished, and hands each end's
// finish on by itself.
func (r *Relay) join(client *net.TCPConn) {
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

func (r *Relay) dialTCP() *net.TCPConn {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	for _, ep := range r.order() {
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", ep.String()); err == nil {
			return c.(*net.TCPConn)
		}
	}
	return nil
}

func (r *Relay) serveUDP(front net.PacketConn) {
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
