package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// ErrNotRunning says that no daemon answers on the socket.
var ErrNotRunning = errors.New("skiff is not running")

// Client talks to the daemon on one socket.
type Client struct {
	HTTP *http.Client
	// Base is the address that requests are made to; the host in it is only a name.
	Base   string
	socket string
}

// NewClient makes a client of the daemon on socket. It does not connect yet.
func NewClient(socket string) *Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}
	return &Client{HTTP: &http.Client{Transport: transport}, Base: "http://skiff", socket: socket}
}

// Get reads path and decodes the JSON answer into out.
func (c *Client) Get(ctx context.Context, path string, query url.Values, out any) error {
	return c.call(ctx, http.MethodGet, path, query, out)
}

// Post calls path and decodes the JSON answer into out, if any.
func (c *Client) Post(ctx context.Context, path string, query url.Values, out any) error {
	return c.call(ctx, http.MethodPost, path, query, out)
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, out any) error {
	target := c.Base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", path, err)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return c.explain(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		return errors.New(strings.TrimSpace(string(text)))
	}
	if out == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", path, err)
	}
	return nil
}

// explain turns a failure to connect into ErrNotRunning or a permission error.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (no daemon on %s); start it with `skiff up`", ErrNotRunning, c.socket)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF):
		return fmt.Errorf("%w any more (the daemon on %s ended during the request)", ErrNotRunning, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to open %s; run this as root", c.socket)
	}
	return err
}
