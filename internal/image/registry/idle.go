package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// idleEnds bounds how long a body may stay silent while somebody reads it: of a manifest, a token, an error or a blob. A
// registry that stops in the middle would hold up a pull for ever, as nothing else has an end. How long the reader takes
// between two reads is its own affair.
type idleEnds struct {
	http.RoundTripper
	after time.Duration
}

// RoundTrip gives the answer's body its bound.
func (t idleEnds) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = &idleBody{ReadCloser: resp.Body, after: t.after, host: req.URL.Host}
	}
	return resp, err
}

type idleBody struct {
	io.ReadCloser
	after time.Duration
	host  string
	late  atomic.Bool
}

// Read closes the body, which ends the read under way, when nothing comes.
func (b *idleBody) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.after, func() {
		b.late.Store(true)
		b.ReadCloser.Close()
	})
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) && b.late.Load() {
		err = fmt.Errorf("nothing came from %s for %v", b.host, b.after)
	}
	return n, err
}
