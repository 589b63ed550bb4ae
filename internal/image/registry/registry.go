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
	// Credentials gives what to try in turn as long as the registry refuses;
	// nil or none means anonymous. It is called once, at the first request: an
	// endpoint that is not asked needs no program run for it.
	Credentials func() ([]Credentials, error)
	// PlainHTTP allows http where no scheme is said; loopback hosts always may.
	PlainHTTP bool
	// Transport; nil means NewTransport(false).
	Transport http.RoundTripper
	// Tries is how often a request is made that fails in a way that may pass;
	// 0 means 4.
	Tries int
	// Backoff is the first pause before trying again; 0 means 200 ms.
	Backoff time.Duration
	// IdleTimeout ends an answer from which nothing comes; 0 means 60 s.
	IdleTimeout time.Duration
}

// Client reads one repository at one endpoint. It may be used concurrently.
type Client struct {
	ep   Endpoint
	host string
	repo string
	opts Options
	http *http.Client
	find func() error

	mu     sync.Mutex
	base   *url.URL
	creds  []Credentials
	using  int    // which of them
	header string // Authorization, once the registry asked for it
}

// tries is how often a request is made that fails in a way that may pass.
const tries = 4

// New returns a client for an endpoint.
func New(ep Endpoint, opts Options) *Client {
	if opts.Transport == nil {
		opts.Transport = NewTransport(false)
	}
	if opts.Tries == 0 {
		opts.Tries = tries
	}
	if opts.Backoff == 0 {
		opts.Backoff = 200 * time.Millisecond
	}
	if opts.IdleTimeout == 0 {
		opts.IdleTimeout = time.Minute
	}
	c := &Client{ep: ep, host: ep.Host(), repo: ep.Repo, opts: opts}
	c.find = sync.OnceValue(c.findCredentials)
	c.http = &http.Client{Transport: idleEnds{opts.Transport, opts.IdleTimeout}, CheckRedirect: c.checkRedirect}
	return c
}

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

// plainAllowed says whether clear text may go to a host: from loopback to loopback, where the user allows it for this
// pull, and to the endpoint that settings name with http. Another machine's registry cannot send the node to what
// listens on its own loopback.
func (c *Client) plainAllowed(host string) bool {
	return c.opts.PlainHTTP || IsLoopback(host) && IsLoopback(c.host) || host == c.host && c.ep.URL.Scheme == "http"
}

// baseURL finds out whether the registry speaks TLS, where nobody said; only
// where clear text is allowed at all is it tried, and only after TLS.
func (c *Client) baseURL(ctx context.Context) (*url.URL, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base != nil {
		return c.base, nil
	}
	u := *c.ep.URL
	if c.ep.FindScheme && c.plainAllowed(c.host) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+"/", nil)
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
	c.base = &u
	return c.base, nil
}

func speaksNoTLS(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) || errors.Is(err, io.EOF) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// get asks for a path below the repository, with authentication and retries.
// The caller closes the body of the answer, whose status is 200 or 206.
func (c *Client) get(ctx context.Context, path, what string, header http.Header) (*http.Response, error) {
	return c.ask(ctx, http.MethodGet, path, what, header)
}

func (c *Client) ask(ctx context.Context, method, path, what string, header http.Header) (*http.Response, error) {
	if err := c.find(); err != nil {
		return nil, err
	}
	for {
		_, using := c.credentials()
		resp, err := c.persist(ctx, method, path, what, header)
		if !errors.Is(err, ErrUnauthorized) || !c.nextCredentials(using) {
			return resp, err
		}
	}
}

// persist tries again what may pass.
func (c *Client) persist(ctx context.Context, method, path, what string, header http.Header) (*http.Response, error) {
	var last error
	for try := range c.opts.Tries {
		if try > 0 {
			if err := c.pause(ctx, try, last); err != nil {
				return nil, err
			}
		}
		resp, err := c.once(ctx, method, path, what, header)
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

func (c *Client) once(ctx context.Context, method, path, what string, header http.Header) (*http.Response, error) {
	base, err := c.baseURL(ctx)
	if err != nil {
		return nil, c.unreachable(what, err)
	}
	target := base.String() + "/" + c.repo + "/" + path
	if !c.ep.Own {
		target += "?ns=" + url.QueryEscape(c.ep.Registry)
	}
	sent := c.authorization()
	resp, err := c.send(ctx, method, target, sent, header)
	if err != nil {
		return nil, c.unreachable(what, err)
	}
	// A host that the request was led to is not the registry: credentials are not for what it names as its token server.
	led := !sameOrigin(resp.Request.URL, base)
	if cr, _ := c.credentials(); resp.StatusCode == http.StatusUnauthorized && cr.RegistryToken == "" && !led {
		auth, err := c.answerChallenge(ctx, resp, sent)
		drain(resp)
		if err != nil {
			return nil, err
		}
		if auth != "" {
			if resp, err = c.send(ctx, method, target, auth, header); err != nil {
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

func (c *Client) send(ctx context.Context, method, target, auth string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, c.ep.Header)
	maps.Copy(req.Header, header)
	req.Header.Set("User-Agent", "skiff")
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	return c.http.Do(req)
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
