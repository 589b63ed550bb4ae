package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Manifest is a manifest or index as the registry gave it, verified.
type Manifest struct {
	Data []byte
	// MediaType is the Content-Type, without parameters; "" if none was given.
	MediaType string
	Digest    digest.Digest
}

// Manifest fetches a manifest by tag or digest, at most limit bytes of one of
// the accepted media types. A digest is verified.
func (c *Client) Manifest(ctx context.Context, tagOrDigest string, accept []string, limit int64) (Manifest, error) {
	what := c.repo + ":" + tagOrDigest
	want := digest.Digest(tagOrDigest)
	if want.Validate() == nil {
		what = c.repo + "@" + tagOrDigest
	} else {
		want = ""
	}
	resp, err := c.get(ctx, "manifests/"+tagOrDigest, what, http.Header{"Accept": accept})
	if err != nil {
		return Manifest{}, err
	}
	defer drain(resp)
	data, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return Manifest{}, c.unreachable(what, err)
	}
	if int64(len(data)) > limit {
		return Manifest{}, fmt.Errorf("%w: manifest of %s has more than %d bytes", ErrContent, what, limit)
	}
	m := Manifest{Data: data, Digest: digest.FromBytes(data)}
	if want == "" {
		// Not a promise of the specification, but no registry may contradict itself.
		if d := digest.Digest(resp.Header.Get("Docker-Content-Digest")); d.Validate() == nil && d.Algorithm() == digest.SHA256 {
			want = d
		}
	}
	if want != "" && m.Digest != want {
		return Manifest{}, fmt.Errorf("%w: manifest of %s has digest %s, not %s; the registry or a proxy on the way is at fault", ErrContent, what, m.Digest, want)
	}
	if ct := resp.Header.Get("Content-Type"); ct != "" {
		if m.MediaType, _, err = mime.ParseMediaType(ct); err != nil {
			return Manifest{}, fmt.Errorf("%w: manifest of %s: content type %q: %w", ErrContent, what, printable(ct), err)
		}
	}
	return m, nil
}

// Digest asks for the digest of a tag's manifest, which registries do not count as a pull. It is empty where the registry
// does not tell.
func (c *Client) Digest(ctx context.Context, tag string, accept []string) (digest.Digest, error) {
	resp, err := c.ask(ctx, http.MethodHead, "manifests/"+tag, c.repo+":"+tag, http.Header{"Accept": accept})
	if err != nil {
		return "", err
	}
	drain(resp)
	d := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	if d.Validate() != nil {
		return "", nil
	}
	return d, nil
}

// Blob opens a blob of size bytes. Reading it goes on where it broke off when
// the connection does. The caller verifies the digest.
func (c *Client) Blob(ctx context.Context, d digest.Digest, size int64) (io.ReadCloser, error) {
	return c.blob(ctx, d, size, nil)
}

// blob is Blob that goes on at the next clients when this one breaks off for good.
func (c *Client) blob(ctx context.Context, d digest.Digest, size int64, next []*Client) (io.ReadCloser, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("%w: blob %q: %w", ErrContent, string(d), err)
	}
	return c.part(ctx, d, 0, size, size, next)
}

// part is the bytes of a blob from at up to until, or to its end where the
// registry knows no ranges: until then says so.
func (c *Client) part(ctx context.Context, d digest.Digest, at, until, size int64, next []*Client) (*blob, error) {
	b := &blob{c: c, next: next, digest: d, size: size, at: at, until: until, ctx: ctx}
	if err := b.open(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

type blob struct {
	c      *Client
	next   []*Client
	digest digest.Digest
	size   int64
	// at is where reading goes on, until where it ends.
	at, until int64
	body      io.ReadCloser
	ctx       context.Context
	failed    int
}

func (b *blob) what() string { return "blob " + b.c.repo + "@" + string(b.digest) }

// open asks for what is still missing.
func (b *blob) open() error {
	header := http.Header{}
	if b.at > 0 || b.until < b.size {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.at, b.until-1))
	}
	resp, err := b.c.get(b.ctx, "blobs/"+string(b.digest), b.what(), header)
	if err != nil {
		return err
	}
	first := b.body == nil
	b.body = resp.Body
	if resp.StatusCode == http.StatusOK {
		// The registry knows no ranges: go through what we have once more.
		if first {
			b.until = b.size
		}
		if _, err := io.CopyN(io.Discard, b.body, b.at); err != nil {
			return b.c.unreachable(b.what(), err)
		}
	} else if err := b.checkRange(resp.Header.Get("Content-Range")); err != nil {
		return err
	}
	if b.until < b.size {
		// What comes behind is another part's: of a registry that knows no ranges,
		// or of a proxy that gives whole pages of its store.
		b.body = limitedBody{io.LimitReader(resp.Body, b.until-b.at), resp.Body}
	}
	return nil
}

// checkRange takes a range that begins where we go on (RFC 9110, 14.4). It may
// be shorter than what was asked for.
func (b *blob) checkRange(got string) error {
	if b.at == 0 && b.until == b.size || strings.HasPrefix(got, fmt.Sprintf("bytes %d-", b.at)) {
		return nil
	}
	return fmt.Errorf("%w: %s: asked for what comes behind byte %d, %s answered with range %q", ErrContent, b.what(), b.at, b.c.host, printable(got))
}

// limitedBody is the beginning of a body.
type limitedBody struct {
	io.Reader
	io.Closer
}

func (b *blob) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		b.at += int64(n)
		switch {
		case b.at > b.until:
			return 0, fmt.Errorf("%w: %s has more than the %d bytes its manifest says", ErrContent, b.what(), b.size)
		case n > 0:
			b.failed = 0
			if b.at == b.until && err != nil {
				err = io.EOF
			}
			if err != io.EOF || b.at < b.until {
				err = nil // what is wrong shows again in the next call
			}
			return n, err
		case err == nil:
			continue
		case b.at == b.until && err == io.EOF:
			return 0, io.EOF
		}
		if err := b.resume(err); err != nil {
			return 0, err
		}
	}
}

// resume opens the blob again after an error of the connection.
func (b *blob) resume(cause error) error {
	b.Close()
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	if b.failed++; b.failed >= tries {
		if b.elsewhere() {
			return nil
		}
		return fmt.Errorf("%w: %s broke off at byte %d of %d: %w", ErrUnavailable, b.what(), b.at, b.size, cause)
	}
	if err := b.c.pause(b.ctx, b.failed, cause); err != nil {
		return err
	}
	if err := b.open(); err != nil {
		b.Close()
		if b.ctx.Err() == nil && b.elsewhere() {
			return nil
		}
		return err
	}
	return nil
}

// elsewhere opens the blob at the next endpoint that has it.
func (b *blob) elsewhere() bool {
	for len(b.next) > 0 {
		b.c, b.next, b.failed = b.next[0], b.next[1:], 0
		if b.open() == nil {
			return true
		}
		b.Close()
	}
	return false
}

func (b *blob) Close() error {
	if b.body != nil {
		return b.body.Close()
	}
	return nil
}
