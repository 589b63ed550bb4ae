// Package relay is the proxy subresources: plain HTTP through the API server to
// a pod, to a pod behind a service, or to a node's kubelet.
//
// The one who asks chooses the target, so it must not be one that only the API
// server can reach: loopback, link-local and unspecified addresses are refused,
// and redirects are handed to the client, never followed.
package relay

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
)

func methods() []string {
	return []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
}

// Transport returns the transport to pods. Their certificates cannot be
// checked: nothing says which are right.
func Transport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: -1, // a pod's connections end with the request
		DisableCompression:  true,
	}
}

// handler relays to the location with the path that was asked for. Where none
// was, not even "/", the client is redirected to "/", so that relative links in
// the page are of the proxy.
func handler(location *url.URL, asked string, transport http.RoundTripper, responder rest.Responder) http.Handler {
	location.Path = utilnet.JoinPreservingTrailingSlash(location.Path, asked)
	return proxy.NewUpgradeAwareHandler(location, transport, true, false, proxy.NewErrorResponder(responder))
}

// reachable refuses addresses that mean something else to the API server than
// to the client.
func reachable(ctx context.Context, ip string) error {
	addr, err := netip.ParseAddr(ip)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return apierrors.NewBadRequest(fmt.Sprintf("%q is not an address", ip))
	case addr.IsUnspecified(), addr.IsLoopback(), addr.IsLinkLocalUnicast(), addr.IsLinkLocalMulticast(), addr.IsInterfaceLocalMulticast():
		return apierrors.NewBadRequest("address not allowed")
	}
	return nil
}
