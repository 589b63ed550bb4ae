package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	defaultAddr  = ":8080"
	defaultDrain = 10 * time.Millisecond
	maxDrain     = 3 * time.Second
	maxSlow      = time.Minute
	shutdownTime = 20 * time.Second
)

func serve(ctx context.Context) error {
	drain := defaultDrain
	if v := os.Getenv("HELLO_DRAIN"); v != "" {
		var err error
		if drain, err = time.ParseDuration(v); err != nil {
			return fmt.Errorf("reading HELLO_DRAIN: %w", err)
		}
	}
	l, err := net.Listen("tcp", env("HELLO_ADDR", defaultAddr))
	if err != nil {
		return err
	}
	arrived := make(chan struct{}, 1)
	srv := &http.Server{Handler: handler(), ReadHeaderTimeout: 10 * time.Second, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			select {
			case arrived <- struct{}{}:
			default:
			}
		}
	}}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	fmt.Printf("hello %s: listening on %s\n", version(), l.Addr())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	fmt.Println("hello: stopping")
	untilQuiet(arrived, drain)
	end, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := srv.Shutdown(end); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stopping: %w", err)
	}
	return nil
}

// untilQuiet returns when no connection has arrived for a while: some may wait
// in the socket's queue, or come until every node's proxy has heard of the end.
func untilQuiet(arrived <-chan struct{}, quiet time.Duration) {
	limit := time.After(maxDrain)
	for {
		select {
		case <-arrived:
		case <-time.After(quiet):
			return
		case <-limit:
			return
		}
	}
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.FormValue("for"))
		if err != nil {
			d = time.Second
		}
		select {
		case <-time.After(min(d, maxSlow)):
		case <-r.Context().Done():
		}
		answer(w)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	return mux
}

func answer(w http.ResponseWriter) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s\nversion: %s\nhost: %s\naddress: %s\n",
		env("HELLO_TEXT", "Hello from skiff!"), version(), host, strings.Join(addresses(), " "))
}

// addresses are POD_IP, if the pod sets it, or what the interfaces have.
func addresses() []string {
	if ip := os.Getenv("POD_IP"); ip != "" {
		return []string{ip}
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			out = append(out, n.IP.String())
		}
	}
	return out
}

func version() string { return env("VERSION", "1") }

func env(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}
