package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestSilence reads from registries that stop in the middle of each kind of answer.
func TestSilence(t *testing.T) {
	begin := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
	}
	var srv *httptest.Server
	for name, serve := range map[string]func(http.ResponseWriter, *http.Request){
		"manifest": func(w http.ResponseWriter, _ *http.Request) { begin(w, http.StatusOK, `{"schemaVersion":`) },
		"error":    func(w http.ResponseWriter, _ *http.Request) { begin(w, http.StatusServiceUnavailable, `{"errors":`) },
		"challenge": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", "Negotiate")
			begin(w, http.StatusUnauthorized, "{")
		},
		"token": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				begin(w, http.StatusOK, `{"token":`)
				return
			}
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token"`, srv.URL))
			w.WriteHeader(http.StatusUnauthorized)
		},
	} {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					return
				}
				serve(w, r)
				if w.Header().Get("Content-Length") != "" {
					<-over
				}
			}))
			defer srv.Close()
			defer close(over)
			c := New(Direct(strings.TrimPrefix(srv.URL, "http://"), "app"), Options{IdleTimeout: 50 * time.Millisecond, Tries: 1})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := c.Manifest(ctx, "1", nil, 1<<20)
			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("manifest: %v", err)
			}
			if name == "manifest" && (!errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "nothing came from")) {
				t.Errorf("it does not say what is wrong: %v", err)
			}
			if name != "manifest" {
				return
			}
			body, err := c.Blob(ctx, digest.FromString("x"), 1000)
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			if _, err := io.ReadAll(body); !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
				t.Errorf("blob: %v", err)
			}
		})
	}
}
