package apiserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.skiff.dev/skiff/internal/pki"
)

// servingCert is the server's certificate: issued at start, issued again when a
// third of its life is left or the node's address changes.
type servingCert struct {
	authority *pki.Authority
	current   atomic.Pointer[tls.Certificate]

	mu      sync.Mutex
	request pki.ServingRequest
}

func newServingCert(opts Options) (*servingCert, error) {
	c := &servingCert{authority: opts.Authority}
	return c, c.issue(servingNames(opts, opts.NodeIP))
}

// servingNames are the names by which clients reach the server: from the node,
// from pods through the kubernetes Service, and from the same machine.
func servingNames(opts Options, nodeIP netip.Addr) pki.ServingRequest {
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + opts.ClusterDomain}
	if opts.NodeName != "" {
		names = append(names, opts.NodeName)
	}
	if host, err := os.Hostname(); err == nil && host != "" && host != opts.NodeName {
		names = append(names, host)
	}
	ips := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback(), nodeIP, serviceIP(opts.ServiceCIDR)}
	if opts.Bind.IsValid() && !opts.Bind.IsUnspecified() {
		ips = append(ips, opts.Bind)
	}
	return pki.ServingRequest{CommonName: "kube-apiserver", DNSNames: names, IPs: ips}
}

// serviceIP is the first address of the range: that of the kubernetes Service.
func serviceIP(cidr netip.Prefix) netip.Addr { return cidr.Masked().Addr().Next() }

func (c *servingCert) issue(req pki.ServingRequest) error {
	pair, err := c.authority.ServingCert(req)
	if err != nil {
		return fmt.Errorf("issuing the API server's certificate: %w", err)
	}
	cert, err := pair.TLS()
	if err != nil {
		return fmt.Errorf("reading the API server's certificate: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.request = req
	c.current.Store(&cert)
	return nil
}

// renew issues the certificate again and again, until ctx ends.
func (c *servingCert) renew(ctx context.Context) error {
	timer := time.NewTimer(pki.LeafLife / 3 * 2)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		c.mu.Lock()
		req := c.request
		c.mu.Unlock()
		if err := c.issue(req); err != nil {
			return err
		}
		timer.Reset(pki.LeafLife / 3 * 2)
	}
}

// get is what a TLS server asks for at each handshake.
func (c *servingCert) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}
