package apiserver

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"go.skiff.dev/skiff/internal/apiserver/authn"
)

// localTransport carries requests of skiff's own parts to the API by function
// calls. It exists before the server does; requests wait for it.
type localTransport struct {
	ready chan struct{}
	// ctx ends when the server stops; it ends every request in flight.
	ctx    context.Context
	cancel context.CancelFunc
	built  built
}

// built is what the server's construction yields.
type built struct {
	// inside serves requests whose identity is attached, outside those of
	// strangers.
	inside, outside http.Handler
}

var errStopped = errors.New("the API server has stopped")

func newLocalTransport() *localTransport {
	t := &localTransport{ready: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

func (t *localTransport) open(b built) {
	t.built = b
	close(t.ready)
}

func (t *localTransport) wait(ctx context.Context) (*built, error) {
	select {
	case <-t.ready:
		return &t.built, nil
	default:
	}
	select {
	case <-t.ready:
		return &t.built, nil
	case <-t.ctx.Done():
		return nil, errStopped
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

const protobufType = "application/vnd.kubernetes.protobuf"

func (t *localTransport) config(name string, groups []string) *rest.Config {
	who := &user.DefaultInfo{Name: name, Groups: append(slices.Clone(groups), user.AllAuthenticated)}
	return &rest.Config{
		// The host is never dialled; it only completes the URLs.
		Host:          "http://in-process",
		Transport:     &localClient{transport: t, who: who},
		ContentConfig: rest.ContentConfig{ContentType: protobufType, AcceptContentTypes: protobufType + ",application/json"},
		UserAgent:     "skiff/" + name,
		QPS:           -1,
		// What the server warns of is meant for people at a terminal.
		WarningHandler: rest.NoWarnings{},
	}
}

// localClient is the transport with one identity.
type localClient struct {
	transport *localTransport
	who       user.Info
}

// RoundTrip runs the handler on a goroutine of its own and returns as soon as
// the response's header is there; the body streams.
func (c *localClient) RoundTrip(req *http.Request) (*http.Response, error) {
	b, err := c.transport.wait(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(c.transport.ctx, cancel)
	inner := req.Clone(authn.WithLocalIdentity(ctx, c.who))
	inner.RequestURI = req.URL.RequestURI()
	inner.RemoteAddr = "127.0.0.1:0"
	inner.Proto, inner.ProtoMajor, inner.ProtoMinor = "HTTP/2.0", 2, 0
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	w := newLocalResponse(req, cancel)
	go func() {
		defer cancel()
		defer stop()
		defer closeBody(req)
		defer w.finish()
		b.inside.ServeHTTP(w, inner)
	}()
	select {
	case <-w.started:
		return w.response, nil
	case <-ctx.Done():
	}
	select {
	case <-w.started: // the handler ended, which ends the context too
		return w.response, nil
	default:
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return nil, errStopped
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}
