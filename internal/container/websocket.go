package container

import (
	"net/http"
	"net/url"

	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Translator answers the two WebSocket protocols that the stream server does
// not speak: v5.channel.k8s.io, which has a word for the end of the input, and
// the tunnel for port forwarding. Clients of Kubernetes 1.31 and later ask for
// no other.
type Translator interface {
	// Streams speaks v5 to the client and SPDY to location.
	Streams(location *url.URL, stdin, stdout, stderr, tty bool) http.Handler
	// Tunnel unpacks the client's SPDY for location.
	Tunnel(location *url.URL) http.Handler
}

// wanted are the streams of an exec or attach. The stream server keeps them with
// the token, where the translator cannot see them, so the address says them too.
type wanted struct{ stdin, stdout, stderr, tty bool }

func (w wanted) query() string {
	q := url.Values{}
	for name, set := range map[string]bool{"input": w.stdin, "output": w.stdout, "error": w.stderr, "tty": w.tty} {
		if set {
			q.Set(name, "1")
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// serveStream hands a request to the stream server, through the translator
// where it is needed. The token is used up either way.
func (v *Server) serveStream(w http.ResponseWriter, r *http.Request) {
	var handler http.Handler = v.streams
	location := &url.URL{Scheme: "http", Host: v.streamAddress, Path: r.URL.Path}
	switch {
	case v.translator == nil:
	case wsstream.IsWebSocketRequestWithTunnelingProtocol(r):
		handler = v.translator.Tunnel(location)
	case wsstream.IsWebSocketRequestWithStreamCloseProtocol(r):
		q := r.URL.Query()
		handler = v.translator.Streams(location, q.Has("input"), q.Has("output"), q.Has("error"), q.Has("tty"))
	}
	handler.ServeHTTP(w, r)
}
