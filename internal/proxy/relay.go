package proxy

import (
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/relay"
)

// relays answer node ports on the host's loopback. Packets to 127.0.0.1 cannot
// leave the host, so the rules cannot help; this is plain copying in userspace.
type relays struct {
	log   *slog.Logger
	taken func(svc *corev1.Service, port localPort, err error)

	mu     sync.Mutex
	active map[relayKey]*relay.Relay
}

type relayKey struct {
	service string
	proto   uint8
	port    uint16
}

func newRelays(log *slog.Logger, taken func(*corev1.Service, localPort, error)) *relays {
	return &relays{log: log, taken: taken, active: map[relayKey]*relay.Relay{}}
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
			rl.Close()
			delete(r.active, key)
		}
	}
	for key, port := range wanted {
		if rl := r.active[key]; rl != nil {
			rl.SetBackends(port.pool.slots)
			continue
		}
		rl, err := relay.Listen(network(port.proto), []string{"127.0.0.1", "::1"}, port.port, port.pool.slots)
		if err != nil {
			r.taken(svc, port, err)
		}
		r.active[key] = rl
	}
}

func (r *relays) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, rl := range r.active {
		rl.Close()
		delete(r.active, key)
	}
}

func network(proto uint8) string {
	if proto == unix.IPPROTO_UDP {
		return "udp"
	}
	return "tcp"
}
