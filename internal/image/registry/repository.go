package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Access says how a repository's endpoints are reached.
type Access struct {
	// PlainHTTP and InsecureSkipVerify are the user's wish for this pull.
	PlainHTTP, InsecureSkipVerify bool
	// Credentials for an endpoint, in the order to try them; nil means none.
	Credentials func(Endpoint) ([]Credentials, error)
	// Transport instead of one per endpoint.
	Transport http.RoundTripper
}

// Repository reads one repository at all its endpoints, in their order: a
// request goes to the next one when an endpoint cannot answer it. It may be
// used concurrently.
type Repository struct {
	clients []*Client

	mu   sync.Mutex
	down map[*Client]bool // gave no answer; not asked again
}

// Open makes the clients of a repository. Nothing is asked yet. Connections
// end with ctx.
func Open(ctx context.Context, endpoints []Endpoint, a Access) *Repository {
	r := &Repository{down: map[*Client]bool{}}
	for i, ep := range endpoints {
		opts := Options{PlainHTTP: a.PlainHTTP && (ep.Own || ep.FindScheme), Transport: a.Transport}
		if opts.Transport == nil {
			opts.Transport = &transport{ctx: ctx, ep: ep, skip: a.InsecureSkipVerify && ep.Own}
		}
		if i < len(endpoints)-1 {
			opts.Tries = 1 // the next endpoint is the other try
		}
		if a.Credentials != nil {
			opts.Credentials = func() ([]Credentials, error) { return a.Credentials(ep) }
		}
		r.clients = append(r.clients, New(ep, opts))
	}
	return r
}

// Manifest is Client.Manifest of the first endpoint that has it.
func (r *Repository) Manifest(ctx context.Context, tagOrDigest string, accept []string, limit int64) (Manifest, error) {
	byDigest := digest.Digest(tagOrDigest).Validate() == nil
	can := func(ep Endpoint) bool { return ep.Resolve && !byDigest || ep.Pull && byDigest }
	var m Manifest
	err := r.each(ctx, can, func(c *Client) (err error) {
		m, err = c.Manifest(ctx, tagOrDigest, accept, limit)
		return err
	})
	return m, err
}

// Digest is Client.Digest of the first endpoint that has the tag.
func (r *Repository) Digest(ctx context.Context, tag string, accept []string) (digest.Digest, error) {
	var d digest.Digest
	err := r.each(ctx, func(ep Endpoint) bool { return ep.Resolve }, func(c *Client) (err error) {
		d, err = c.Digest(ctx, tag, accept)
		return err
	})
	return d, err
}

// Blob is Client.Blob of the first endpoint that has it. When the connection
// breaks off for good it goes on at the next one.
func (r *Repository) Blob(ctx context.Context, d digest.Digest, size int64) (io.ReadCloser, error) {
	return r.BlobFrom(ctx, d, 0, size)
}

// BlobFrom is Blob without the first bytes, at of them. A large one comes in
// several ranges at a time where the registry knows them.
func (r *Repository) BlobFrom(ctx context.Context, d digest.Digest, at, size int64) (io.ReadCloser, error) {
	until := size
	if size-at >= manyRanges {
		until = at + rangeBytes
	}
	first, err := r.part(ctx, d, at, until, size)
	if err != nil {
		return nil, err
	}
	if first.until == size {
		return first, nil
	}
	return newRanges(ctx, r, first), nil
}

func (r *Repository) part(ctx context.Context, d digest.Digest, at, until, size int64) (*blob, error) {
	var out *blob
	can := func(ep Endpoint) bool { return ep.Pull }
	err := r.each(ctx, can, func(c *Client) (err error) {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("%w: blob %q: %w", ErrContent, string(d), err)
		}
		out, err = c.part(ctx, d, at, until, size, r.after(c, can))
		return err
	})
	return out, err
}

// each asks one endpoint after the other until f gives no error.
func (r *Repository) each(ctx context.Context, can func(Endpoint) bool, f func(*Client) error) error {
	var failed failures
	for _, c := range r.after(nil, can) {
		err := f(c)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		failed = append(failed, err)
		if errors.Is(err, ErrUnavailable) {
			r.mu.Lock()
			r.down[c] = true
			r.mu.Unlock()
		}
	}
	switch len(failed) {
	case 0:
		return fmt.Errorf("%w: no endpoint of %s may be asked for this; look at \"capabilities\" in hosts.toml and at disable-default-registry-endpoint", ErrSettings, r.registry())
	case 1:
		return failed[0]
	}
	return failed
}

func (r *Repository) registry() string {
	if len(r.clients) == 0 {
		return "the registry"
	}
	return r.clients[0].ep.Registry
}

// after lists the clients behind c, or all, without those that are down. Where
// all are down they are asked again: it may have passed.
func (r *Repository) after(c *Client, can func(Endpoint) bool) []*Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	var up, all []*Client
	behind := c == nil
	for _, other := range r.clients {
		if behind && can(other.ep) {
			all = append(all, other)
			if !r.down[other] {
				up = append(up, other)
			}
		}
		behind = behind || other == c
	}
	if len(up) == 0 && c == nil {
		return all
	}
	return up
}

// failures are what each endpoint said, in their order. What kind of error it
// is the last one decides: the registry itself, where it was asked.
type failures []error

func (f failures) Error() string {
	words := make([]string, 0, len(f))
	for _, err := range f {
		words = append(words, err.Error())
	}
	return strings.Join(words, "; then ")
}

func (f failures) Unwrap() error { return f[len(f)-1] }
