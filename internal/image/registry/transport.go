package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// NewTransport has a time-out for each step but the body.
func NewTransport(insecureSkipVerify bool) *http.Transport {
	return newTransport(&tls.Config{InsecureSkipVerify: insecureSkipVerify}, 0) //nolint:gosec // asked for by the user, per pull
}

func newTransport(config *tls.Config, dial time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: cmp.Or(dial, 10*time.Second), KeepAlive: 30 * time.Second}
	config = config.Clone()
	config.MinVersion = tls.VersionTLS12
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		ExpectContinueTimeout: time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4,
		ForceAttemptHTTP2: true, DisableCompression: true,
		TLSClientConfig: config,
	}
}

// transport reaches an endpoint, and the hosts that it redirects to, each with
// its own TLS settings. Its connections end with ctx.
type transport struct {
	ctx  context.Context
	ep   Endpoint
	skip bool

	mu    sync.Mutex
	hosts map[string]*http.Transport
}

// RoundTrip chooses by the request's host.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	tr, err := t.of(req.URL.Host)
	if err != nil {
		return nil, err
	}
	return tr.RoundTrip(req)
}

func (t *transport) of(host string) (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr := t.hosts[host]; tr != nil {
		return tr, nil
	}
	// A host that nothing is set for takes the endpoint's settings, as with
	// containerd: a private registry's token server and storage are as private.
	config := t.ep.TLS
	if host != t.ep.Host() && t.ep.others != nil {
		own, err := t.ep.others(host)
		if err != nil {
			return nil, err
		}
		config = cmp.Or(own, config)
	}
	if config == nil {
		config = &tls.Config{InsecureSkipVerify: t.skip} //nolint:gosec // asked for by the user, per pull
	} else if t.skip {
		config = config.Clone()
		config.InsecureSkipVerify = true
	}
	tr := newTransport(config, t.ep.DialTimeout)
	context.AfterFunc(t.ctx, tr.CloseIdleConnections)
	if t.hosts == nil {
		t.hosts = map[string]*http.Transport{}
	}
	t.hosts[host] = tr
	return tr, nil
}

const tooManyRedirects = "stopped after 10 redirects"

// checkRedirect keeps a registry from leading a download into clear text, and
// what is meant for this host alone from going on to another one. net/http by
// itself takes Authorization along to subdomains and to other ports.
func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New(tooManyRedirects)
	}
	if req.URL.Scheme != "https" && !c.plainAllowed(req.URL.Host) {
		return fmt.Errorf("refusing redirect to %s: it is not https", req.URL.Host)
	}
	// The headers are those of the first request again, so each hop counts:
	// who was led away and back is led by the other host.
	foreign := !sameOrigin(req.URL, via[0].URL)
	for _, r := range via {
		foreign = foreign || !sameOrigin(r.URL, via[0].URL)
	}
	if foreign {
		for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
			req.Header.Del(name)
		}
		for name := range c.ep.Header {
			req.Header.Del(name)
		}
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && a.Hostname() == b.Hostname() && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"https": "443", "http": "80"}[u.Scheme]
}
