package podnet

import (
	"net/netip"

	"go.skiff.dev/skiff/internal/relay"
)

// openLoopback answers a pod's host ports on the host's loopback, where the
// rules do not reach. A port that somebody else has there is not ours to take.
func (n *Network) openLoopback(rec *record) {
	n.closeLoopback(rec.ID)
	var open []*relay.Relay
	for _, m := range rec.PortMappings {
		network, hosts := relayed(m)
		if len(hosts) == 0 {
			continue
		}
		r, err := relay.Listen(network, hosts, m.HostPort, []netip.AddrPort{netip.AddrPortFrom(rec.IPs[0], m.ContainerPort)})
		if err != nil {
			n.log.Warn("answering a host port on loopback", "port", m.HostPort, "err", err)
		}
		open = append(open, r)
	}
	if len(open) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loopback[rec.ID] = open
}

// known are the pods that are attached.
func (n *Network) known() []*record {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []*record
	for _, rec := range n.pods {
		all = append(all, rec)
	}
	return all
}

func (n *Network) closeLoopback(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.loopback[id] {
		r.Close()
	}
	delete(n.loopback, id)
}

func (n *Network) closeAllLoopback() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, open := range n.loopback {
		for _, r := range open {
			r.Close()
		}
		delete(n.loopback, id)
	}
}

// relayed tells on which addresses of the loopback a mapping is answered.
func relayed(m PortMapping) (network string, hosts []string) {
	network = map[string]string{"": "tcp", "TCP": "tcp", "UDP": "udp"}[m.Protocol]
	switch {
	case network == "":
		return "", nil
	case !m.HostIP.IsValid() || m.HostIP.IsUnspecified():
		return network, []string{"127.0.0.1", "::1"}
	case m.HostIP.IsLoopback():
		return network, []string{m.HostIP.String()}
	}
	return network, nil
}
