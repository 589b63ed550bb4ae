package daemon

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.skiff.dev/skiff/internal/pki"
)

// nodeTLS is how the node API identifies itself and whom it lets in.
func (d *daemon) nodeTLS() *tls.Config {
	leaf := &nodeLeaf{authority: d.organs.authority, name: d.cfg.NodeName, ip: d.cfg.NodeIP}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: leaf.get,
		ClientCAs:      d.organs.authority.Pool(),
		ClientAuth:     tls.VerifyClientCertIfGiven,
	}
}

// nodeLeaf holds the node's serving certificate and renews it when a third of
// its life is left: nobody has to restart anything.
type nodeLeaf struct {
	authority *pki.Authority
	name      string
	ip        netip.Addr

	mu      sync.Mutex
	current *tls.Certificate
}

func (l *nodeLeaf) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil && time.Until(l.current.Leaf.NotAfter) > pki.LeafLife/3 {
		return l.current, nil
	}
	pair, err := l.authority.ServingCert(pki.ServingRequest{
		CommonName: "system:node:" + l.name, Organizations: []string{"system:nodes"},
		DNSNames: []string{l.name, "localhost"}, IPs: []netip.Addr{l.ip, netip.AddrFrom4([4]byte{127, 0, 0, 1})},
	})
	if err != nil {
		return nil, fmt.Errorf("issuing the node's certificate: %w", err)
	}
	cert, err := pair.TLS()
	if err != nil {
		return nil, fmt.Errorf("reading the node's certificate: %w", err)
	}
	l.current = &cert
	return l.current, nil
}
