package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.skiff.dev/skiff/internal/image/registry"
)

// hangUp ends the connection without an answer.
func hangUp(t *testing.T, w http.ResponseWriter) {
	t.Helper()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	conn.Close()
}

// TestPullFromAwkwardRegistries pulls from registries that are right, but not
// easy.
func TestPullFromAwkwardRegistries(t *testing.T) {
	var srv *server
	var n atomic.Int64
	var refused time.Time
	challenge := func(w http.ResponseWriter, text ...string) {
		for _, c := range text {
			w.Header().Add("WWW-Authenticate", strings.ReplaceAll(c, "REALM", srv.URL+"/token"))
		}
		w.WriteHeader(http.StatusUnauthorized)
	}
	for name, before := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"a password or a token, and a token is for everybody": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				fmt.Fprint(w, `{"access_token":"t"}`)
			} else if r.Header.Get("Authorization") != "Bearer t" {
				challenge(w, `Basic realm="x", Bearer realm="REALM"`)
			} else {
				return false
			}
			return true
		},
		"the same in two headers, behind one of no known kind": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				fmt.Fprint(w, `{"token":"t"}`)
			} else if r.Header.Get("Authorization") != "Bearer t" {
				challenge(w, `Negotiate`, `Basic realm="x"`, `Bearer realm="REALM",error="invalid_token"`)
			} else {
				return false
			}
			return true
		},
		"tokens expire between the manifest and the layers": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				fmt.Fprintf(w, `{"token":"%d"}`, n.Load())
				return true
			}
			if r.Header.Get("Authorization") != fmt.Sprint("Bearer ", n.Load()) {
				challenge(w, `Bearer realm="REALM"`)
				return true
			}
			if strings.Contains(r.URL.Path, "/manifests/") {
				n.Add(1)
			}
			return false
		},
		"it is busy and says for how long": func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case n.Add(1) == 2:
				refused = time.Now()
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			case n.Load() == 3 && time.Since(refused) < 900*time.Millisecond:
				t.Errorf("asked again after %v", time.Since(refused))
			}
			return false
		},
		"it hangs up on every second request": func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1)%2 == 0 {
				hangUp(t, w)
				return true
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			n.Store(0)
			srv = newServer(t)
			srv.push(t, "app", "1", smallImage(t))
			srv.before = before
			s := openStore(t, Options{})
			if _, err := s.Pull(context.Background(), srv.host()+"/app:1", PullOptions{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestPullSaysWhatIsWrong pulls from registries that are wrong; the error names
// what.
func TestPullSaysWhatIsWrong(t *testing.T) {
	var srv *server
	manifest := func(contentType, body string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", contentType)
			fmt.Fprint(w, body)
			return true
		}
	}
	for name, c := range map[string]struct {
		before func(w http.ResponseWriter, r *http.Request) bool
		is     error
		says   string
	}{
		"a page of a portal": {manifest("text/html; charset=utf-8", "<html>log in first</html>"), nil, "text/html"},
		"an old manifest":    {manifest("application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1,"fsLayers":[]}`), ErrInvalidArchive, "schema 1"},
		"nothing":            {manifest("application/vnd.oci.image.manifest.v1+json", ""), nil, "manifest"},
		"a chart":            {manifest("application/vnd.oci.image.manifest.v1+json", `{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`), nil, ""},
		"redirects in a ring": {func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}, registry.ErrUnavailable, "10 redirects"},
		"a challenge without a realm": {func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, registry.ErrContent, "names \"\" as its token server"},
		"a token that is no JSON": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				fmt.Fprint(w, "<html>")
				return true
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, registry.ErrContent, "decoding token"},
	} {
		t.Run(name, func(t *testing.T) {
			srv = newServer(t)
			srv.push(t, "app", "1", smallImage(t))
			srv.before = c.before
			s := openStore(t, Options{})
			_, err := s.Pull(context.Background(), srv.host()+"/app:1", PullOptions{})
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v lacks %q", err, c.says)
			}
			t.Log(err)
			checkEmpty(t, s)
		})
	}
}
