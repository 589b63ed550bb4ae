package imageapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"go.skiff.dev/skiff/internal/image"
)

// Client calls the handler of a running daemon.
type Client struct {
	// HTTP reaches the daemon, whatever the host in the URL is.
	HTTP *http.Client
}

// NewClient returns a client for the daemon that listens on a unix socket.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{HTTP: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
	}}}
}

// ImportOptions of the client.
type ImportOptions struct {
	Names    []string
	Platform string
	Progress func(image.Event)
}

// Import sends an archive: "-" is stdin, else a file or a directory. Of a file
// or directory only the name is sent: the daemon runs on the same machine and
// reads it out of order, so that an archive whose layers it has costs nothing.
func (c *Client) Import(ctx context.Context, from string, stdin io.Reader, opts ImportOptions) ([]image.Image, error) {
	q := url.Values{"name": opts.Names}
	if opts.Platform != "" {
		q.Set("platform", opts.Platform)
	}
	if from == "-" {
		return c.stream(ctx, "/images/import?"+q.Encode(), stdin, opts.Progress)
	}
	info, err := os.Stat(from)
	if err != nil {
		return nil, fmt.Errorf("importing image: %w", err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		f, err := os.Open(from)
		if err != nil {
			return nil, fmt.Errorf("importing image: %w", err)
		}
		defer f.Close()
		return c.stream(ctx, "/images/import?"+q.Encode(), f, opts.Progress)
	}
	abs, err := filepath.Abs(from)
	if err != nil {
		return nil, fmt.Errorf("importing image: %w", err)
	}
	q.Set("path", abs)
	if info.IsDir() {
		q.Set("dir", "1")
	}
	return c.stream(ctx, "/images/import?"+q.Encode(), nil, opts.Progress)
}

// Pull fetches an image; platform may be empty.
func (c *Client) Pull(ctx context.Context, ref, platform string, opts image.PullOptions) (image.Image, error) {
	body, err := json.Marshal(pullRequest{opts.Auth, opts.Secrets, opts.PlainHTTP, opts.InsecureSkipVerify})
	if err != nil {
		return image.Image{}, err
	}
	q := url.Values{"ref": {ref}}
	if platform != "" {
		q.Set("platform", platform)
	}
	imgs, err := c.stream(ctx, "/images/pull?"+q.Encode(), bytes.NewReader(body), opts.Progress)
	if err != nil {
		return image.Image{}, err
	}
	if len(imgs) != 1 {
		return image.Image{}, fmt.Errorf("pulling image: the daemon answered with %d images", len(imgs))
	}
	return imgs[0], nil
}

// List returns all images.
func (c *Client) List(ctx context.Context) (out []image.Image, err error) {
	return out, c.call(ctx, http.MethodGet, "/images", &out)
}

// Save writes images as one archive.
func (c *Client) Save(ctx context.Context, w io.Writer, refs ...string) error {
	resp, err := c.do(ctx, http.MethodGet, "/images/save?"+url.Values{"ref": refs}.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("saving images: %w", err)
	}
	if text := resp.Trailer.Get(saveError); text != "" {
		return errors.New(text)
	}
	return nil
}

// Inspect tells all about one image.
func (c *Client) Inspect(ctx context.Context, ref string) (out image.Detail, err error) {
	return out, c.call(ctx, http.MethodGet, "/images/inspect?"+url.Values{"ref": {ref}}.Encode(), &out)
}

// Remove removes an image or one of its names.
func (c *Client) Remove(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "/images?"+url.Values{"ref": {ref}}.Encode(), nil)
}

// Tag gives an image another name.
func (c *Client) Tag(ctx context.Context, ref, name string) (out image.Image, err error) {
	return out, c.call(ctx, http.MethodPost, "/images/tag?"+url.Values{"ref": {ref}, "name": {name}}.Encode(), &out)
}

// Prune removes what nobody uses. Of opts it knows Nameless and UnusedFor.
func (c *Client) Prune(ctx context.Context, opts image.PruneOptions) (out Pruned, err error) {
	q := url.Values{"unusedFor": {opts.UnusedFor.String()}}
	if opts.Nameless {
		q.Set("nameless", "1")
	}
	return out, c.call(ctx, http.MethodPost, "/images/prune?"+q.Encode(), &out)
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://skiff"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the daemon: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var l Line
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&l); err != nil || l.Error == "" {
		return nil, fmt.Errorf("asking the daemon: it answered %s", resp.Status)
	}
	return nil, statusError{l.Error, resp.StatusCode}
}

func (c *Client) call(ctx context.Context, method, path string, out any) error {
	resp, err := c.do(ctx, method, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("decoding the daemon's answer: %w", err)
	}
	return nil
}

// stream sends body and reads lines until the last.
func (c *Client) stream(ctx context.Context, path string, body io.Reader, progress func(image.Event)) ([]image.Image, error) {
	resp, err := c.do(ctx, http.MethodPost, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var l Line
		if err := dec.Decode(&l); err != nil {
			return nil, fmt.Errorf("the daemon's answer broke off: %w", err)
		}
		if l.Event != nil && progress != nil {
			progress(*l.Event)
		}
		if !l.Done {
			continue
		}
		if l.Error != "" {
			return nil, errors.New(l.Error)
		}
		return l.Images, nil
	}
}

// statusError is an error of the daemon whose kind the status tells.
type statusError struct {
	text   string
	status int
}

func (e statusError) Error() string { return e.text }

// Is finds the store's sentinels again.
func (e statusError) Is(target error) bool {
	switch e.status {
	case http.StatusNotFound:
		return target == image.ErrNotFound
	case http.StatusConflict:
		return target == image.ErrInUse
	}
	return false
}
