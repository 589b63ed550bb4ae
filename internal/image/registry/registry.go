// Package registry speaks the pulling half of the OCI distribution
// specification 1.1: manifests and blobs of one repository over HTTP(S), with
// anonymous, basic and token authentication.
//
// It is our own because of what a node needs and client libraries hide: errors
// that name the cause and the way out, credentials that never travel in clear
// text to a host that is not this one, downloads that go on where they broke
// off, and limits on every answer.
package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Credentials for a registry. The zero value is anonymous.
type Credentials struct {
	Username, Password string
	// IdentityToken is an OAuth2 refresh token, RegistryToken a bearer token.
	IdentityToken, RegistryToken string
}

// Options of a client.
type Options struct {
	Credentials Credentials
	// PlainHTTP allows http; loopback hosts always may.
	PlainHTTP bool
	// Transport; nil means NewTransport(false).
	Transport http.RoundTripper
	// Backoff is the first pause before trying again; 0 means 200 ms.
	Backoff time.Duration
	// IdleTimeout ends a download from which nothing comes; 0 means 60 s.
	IdleTimeout time.Duration
}

// Client reads one repository. It may be used concurrently.
type Client struct {
	host, repo string
	opts       Options
	http       *http.Client

	mu     sync.Mutex
	base   *url.URL
	header string // Authorization, once the registry asked for it
}

// tries is how often a request is made that fails in a way that may pass.
const tries = 4

// New returns a client for a repository such as "library/busybox" on domain.
func New(domain, repo string, opts Options) *Client {
	if opts.Transport == nil {
		opts.Transport = NewTransport(false)
	}
	if opts.Backoff == 0 {
		opts.Backoff = 200 * time.Millisecond
	}
	if opts.IdleTimeout == 0 {
		opts.IdleTimeout = time.Minute
	}
	c := &Client{host: domain, repo: repo, opts: opts}
	if domain == "docker.io" {
		c.host = "registry-1.docker.io"
	}
	if t := opts.Credentials.RegistryToken; t != "" {
		c.header = "Bearer " + t
	}
	c.http = &http.Client{Transport: opts.Transport, CheckRedirect: c.checkRedirect}
	return c
}

// NewTransport has a time-out for each step but the body.
func NewTransport(insecureSkipVerify bool) *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		ExpectContinueTimeout: time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4,
		ForceAttemptHTTP2: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecureSkipVerify}, //nolint:gosec // asked for by the user, per pull
	}
}

// Host is the host that is asked, with its port.
func (c *Client) Host() string { return c.host }

// IsLoopback says whether host (with or without port) is this machine.
func IsLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (c *Client) plainAllowed(host string) bool { return c.opts.PlainHTTP || IsLoopback(host) }

// checkRedirect keeps a registry from leading a download into clear text.
// http.Client itself drops the Authorization header on the way to another host.
func (c *Client) checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	if req.URL.Scheme != "https" && !c.plainAllowed(req.URL.Host) {
		return fmt.Errorf("refusing redirect to %s: it is not https", req.URL.Host)
	}
	return nil
}

// baseURL finds out whether the registry speaks TLS; only where clear text is
// allowed at all is it tried, and only after TLS.
func (c *Client) baseURL(ctx context.Context) (*url.URL, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base != nil {
		return c.base, nil
	}
	u := &url.URL{Scheme: "https", Host: c.host}
	if c.plainAllowed(c.host) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+"/v2/", nil)
		if err != nil {
			return nil, err
		}
		resp, err := c.http.Do(req)
		if err == nil {
			resp.Body.Close()
		} else if speaksNoTLS(err) {
			u.Scheme = "http"
		} else {
			return nil, err
		}
	}
	c.base = u
	return u, nil
}

func speaksNoTLS(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) || errors.Is(err, io.EOF) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// get asks for a path below the repository, with authentication and retries.
// The caller closes the body of the answer, whose status is 200 or 206.
func (c *Client) get(ctx context.Context, path, what string, header http.Header) (*http.Response, error) {
	var last error
	for try := range tries {
		if try > 0 {
			if err := c.pause(ctx, try, last); err != nil {
				return nil, err
			}
		}
		resp, err := c.once(ctx, path, what, header)
		if err == nil {
			return resp, nil
		}
		if last = err; ctx.Err() != nil || !temporary(err) {
			break
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, last
}

func (c *Client) once(ctx context.Context, path, what string, header http.Header) (*http.Response, error) {
	base, err := c.baseURL(ctx)
	if err != nil {
		return nil, c.unreachable(what, err)
	}
	target := base.String() + "/v2/" + c.repo + "/" + path
	sent := c.authorization()
	resp, err := c.send(ctx, target, sent, header)
	if err != nil {
		return nil, c.unreachable(what, err)
	}
	if resp.StatusCode == http.StatusUnauthorized && c.opts.Credentials.RegistryToken == "" {
		auth, err := c.answerChallenge(ctx, resp, sent)
		drain(resp)
		if err != nil {
			return nil, err
		}
		if auth != "" {
			if resp, err = c.send(ctx, target, auth, header); err != nil {
				return nil, c.unreachable(what, err)
			}
		}
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	defer drain(resp)
	return nil, c.statusError(resp, what)
}

func (c *Client) send(ctx context.Context, target, auth string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("User-Agent", "skiff")
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	return c.http.Do(req)
}

func (c *Client) authorization() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header
}

// pause waits before another try: twice as long each time, or what the
// registry asked for, up to half a minute.
func (c *Client) pause(ctx context.Context, try int, last error) error {
	d := c.opts.Backoff << (try - 1)
	var e *Error
	if errors.As(last, &e) && e.RetryAfter > d {
		d = min(e.RetryAfter, 30*time.Second)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}
