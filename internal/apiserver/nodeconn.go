package apiserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/pki"
)

// kubeletUser is the name the API server shows to kubelets
// (upstream: kube-apiserver-kubelet-client, O=system:masters).
const kubeletUser = "kube-apiserver-kubelet-client"

// nodeConn reaches the kubelets of registered nodes: TLS, verified against our
// authority, with a client certificate. It follows no redirects and goes to no
// address that a node should not have, because whoever may write a Node's
// status chooses that address (CVE-2018-1002105 and its kin).
type nodeConn struct {
	authority *pki.Authority
	once      sync.Once
	transport http.RoundTripper
	err       error
}

// Connect implements resource.NodeConn.
func (n *nodeConn) Connect(_ context.Context, node *corev1.Node) (*url.URL, http.RoundTripper, error) {
	addr, err := nodeAddress(node)
	if err != nil {
		return nil, nil, err
	}
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	if port <= 0 || port > 65535 {
		return nil, nil, fmt.Errorf("reaching node %q: its status names no kubelet port", node.Name)
	}
	n.once.Do(func() { n.transport, n.err = newNodeTransport(n.authority) })
	if n.err != nil {
		return nil, nil, n.err
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(addr.String(), strconv.Itoa(int(port)))}, n.transport, nil
}

// nodeAddress picks the address in upstream's default order of preference,
// without names: a name could resolve to anything.
func nodeAddress(node *corev1.Node) (netip.Addr, error) {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range node.Status.Addresses {
			if a.Type != kind {
				continue
			}
			addr, err := netip.ParseAddr(a.Address)
			if err != nil {
				return netip.Addr{}, fmt.Errorf("reaching node %q: its address %q is no IP address", node.Name, a.Address)
			}
			addr = addr.Unmap()
			if addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() {
				return netip.Addr{}, fmt.Errorf("reaching node %q: the address %s is not one that a node may have", node.Name, addr)
			}
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("reaching node %q: its status names no address", node.Name)
}

func newNodeTransport(authority *pki.Authority) (http.RoundTripper, error) {
	pair, err := authority.ClientCert(kubeletUser, mastersGroup)
	if err != nil {
		return nil, fmt.Errorf("issuing the certificate for kubelets: %w", err)
	}
	cert, err := pair.TLS()
	if err != nil {
		return nil, fmt.Errorf("reading the certificate for kubelets: %w", err)
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
		TLSClientConfig: &tls.Config{
			MinVersion:   tls.VersionTLS12,
			RootCAs:      authority.Pool(),
			Certificates: []tls.Certificate{cert},
			// Upgrades (exec, attach, port-forward) need HTTP/1.1.
			NextProtos: []string{"http/1.1"},
		},
	}
	return &upgradable{transport}, nil
}

// upgradable tells the upgrade-aware proxy of k8s.io/apimachinery how to dial
// for a connection that it takes over.
type upgradable struct{ *http.Transport }

// WrappedRoundTripper implements k8s.io/apimachinery/pkg/util/net.RoundTripperWrapper.
func (u *upgradable) WrappedRoundTripper() http.RoundTripper { return u.Transport }
