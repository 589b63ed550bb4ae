package daemon

import (
	"net/http"
	"net/url"

	"k8s.io/apimachinery/pkg/util/proxy"
	streamproxy "k8s.io/apiserver/pkg/util/proxy"
)

// webSockets gives the container layer's stream server what the API server
// uses for the same purpose.
type webSockets struct{}

func (webSockets) Streams(location *url.URL, stdin, stdout, stderr, tty bool) http.Handler {
	return streamproxy.NewStreamTranslatorHandler(location, nil, 0, streamproxy.Options{Stdin: stdin, Stdout: stdout, Stderr: stderr, Tty: tty})
}

func (webSockets) Tunnel(location *url.URL) http.Handler {
	return streamproxy.NewTunnelingHandler(proxy.NewUpgradeAwareHandler(location, http.DefaultTransport, false, true, responder{}))
}

// responder answers when the stream server did not take the upgrade.
type responder struct{}

func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusBadGateway)
}
