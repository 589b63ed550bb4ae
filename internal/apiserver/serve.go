package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Limits of a connection, with upstream's values: a frame holds most objects,
// and a client can't make the server hold more than 100 requests' buffers.
const (
	idleTimeout    = 90 * time.Second
	headerTimeout  = 32 * time.Second
	maxHeaderBytes = 1 << 20
	streamBuffer   = 256 << 10
	maxStreams     = 100
)

// serve answers TLS connections until ctx ends, then lets requests end.
//
// The library's own server is not used: it keeps a controller with a work queue
// for its certificates, which wakes twice a second.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, cert *servingCert, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		IdleTimeout:       idleTimeout,
		ReadHeaderTimeout: headerTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Handshakes of strangers fail all the time; that is not our error.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"h2", "http/1.1"},
			GetCertificate: cert.get,
			// Certificates are asked for and not demanded: tokens do as well.
			// The authenticators verify them.
			ClientAuth: tls.RequestClientCert,
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:      maxStreams,
			MaxReadFrameSize:          streamBuffer,
			MaxReceiveBufferPerStream: streamBuffer,
			// Enough for every stream: requests that wait in a queue must not
			// keep the body of one that runs from arriving.
			MaxReceiveBufferPerConnection: streamBuffer * maxStreams,
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving the API: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("ending the API's server: %w", err)
	}
	return nil
}

// idleListener takes the place of a listener in the library's server, which
// insists on having one. It accepts nothing until it is closed.
type idleListener struct {
	addr   net.Addr
	closed context.Context
	close  context.CancelFunc
}

func newIdleListener(addr net.Addr) *idleListener {
	l := &idleListener{addr: addr}
	l.closed, l.close = context.WithCancel(context.Background())
	return l
}

// Accept implements net.Listener.
func (l *idleListener) Accept() (net.Conn, error) {
	<-l.closed.Done()
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (l *idleListener) Close() error { l.close(); return nil }

// Addr implements net.Listener.
func (l *idleListener) Addr() net.Addr { return l.addr }
