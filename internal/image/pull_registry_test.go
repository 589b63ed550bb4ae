package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"go.skiff.dev/skiff/internal/image/registry"
)

// node is a store with a directory of settings, as /etc/skiff is.
type node struct {
	*Store
	dir string
}

func newNode(t *testing.T) node {
	t.Helper()
	dir := t.TempDir()
	files := registry.Files{
		Registries: filepath.Join(dir, "registries.yaml"), Certs: filepath.Join(dir, "certs.d"), Auth: []string{filepath.Join(dir, "auth.json")},
	}
	return node{openStore(t, Options{Registries: files}), dir}
}

func (n node) write(t *testing.T, name, data string) string {
	t.Helper()
	file := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// pulls pulls an image whose registry's name leads nowhere, so that what comes
// is from a mirror, and takes it away again.
func (n node) pulls(t *testing.T, ref string) error {
	t.Helper()
	img, err := n.Pull(context.Background(), ref, PullOptions{})
	if err == nil {
		if len(img.Tags) != 1 || img.Tags[0] != ref {
			t.Errorf("%s: tags %v", ref, img.Tags)
		}
		if err := n.Remove(ref); err != nil {
			t.Fatal(err)
		}
	}
	return err
}

func (n node) mustPull(t *testing.T, ref string) {
	t.Helper()
	if err := n.pulls(t, ref); err != nil {
		t.Errorf("%s: %v", ref, err)
	}
}

func (n node) mustFail(t *testing.T, ref string, is error, says ...string) {
	t.Helper()
	err := n.pulls(t, ref)
	if err == nil || is != nil && !errors.Is(err, is) {
		t.Fatalf("%s: %v", ref, err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: %v, want %q", ref, err, s)
		}
	}
}

// nowhere is a registry's name at which nothing answers.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// counting is a server that counts its requests.
func counting(t *testing.T, repo string) (*server, *atomic.Int64) {
	t.Helper()
	srv, n := newServer(t), new(atomic.Int64)
	srv.push(t, repo, "1", smallImage(t))
	srv.before = func(http.ResponseWriter, *http.Request) bool { n.Add(1); return false }
	return srv, n
}

func TestMirrors(t *testing.T) {
	mirror, mirrored := counting(t, "app")
	origin, asked := counting(t, "app")
	n := newNode(t)
	ref := origin.host() + "/app:1"
	// The file appears, changes and goes without a restart.
	n.mustPull(t, ref)
	if asked.Swap(0) == 0 {
		t.Error("without a file the registry was not asked")
	}
	n.write(t, "registries.yaml", fmt.Sprintf("mirrors:\n  %q:\n    endpoint: [%q]\n", origin.host(), mirror.URL))
	n.mustPull(t, ref)
	if mirrored.Swap(0) == 0 || asked.Swap(0) != 0 {
		t.Error("the mirror did not answer first, or not alone")
	}
	down := nowhere(t)
	n.write(t, "registries.yaml", fmt.Sprintf("mirrors:\n  %q:\n    endpoint: [\"http://%s\", %q]\n", origin.host(), down, mirror.URL))
	n.mustPull(t, ref)
	if mirrored.Swap(0) == 0 || asked.Swap(0) != 0 {
		t.Error("where a mirror is down, the next one did not answer")
	}
	n.write(t, "registries.yaml", fmt.Sprintf("mirrors:\n  \"*\":\n    endpoint: [\"http://%s\"]\n", down))
	n.mustPull(t, ref)
	if asked.Swap(0) == 0 {
		t.Error("where all mirrors are down, the registry was not asked")
	}
	n.mustFail(t, origin.host()+"/none:1", ErrNotFound, "reaching "+down, "; then registry "+origin.host()+" has no none:1")
	if err := os.Remove(filepath.Join(n.dir, "registries.yaml")); err != nil {
		t.Fatal(err)
	}
	n.mustPull(t, ref)
	n.mustFail(t, down+"/app:1", ErrUnavailable)
}

func TestMirrorRewrites(t *testing.T) {
	mirror, _ := counting(t, "proxy/team/app")
	var ns atomic.Value
	mirror.before = func(_ http.ResponseWriter, r *http.Request) bool { ns.Store(r.URL.Query().Get("ns")); return false }
	n := newNode(t)
	n.write(t, "registries.yaml", fmt.Sprintf("mirrors:\n  reg.example.com:\n    endpoint: [%q]\n    rewrite:\n      \"^(.*)$\": \"proxy/$1\"\n", mirror.URL))
	n.mustPull(t, "reg.example.com/team/app:1")
	if ns.Load() != "reg.example.com" {
		t.Errorf("the mirror was told ns=%v", ns.Load())
	}
}

// A broken file fails every pull, names itself, and nothing is asked.
func TestBrokenSettingsFailThePull(t *testing.T) {
	origin, asked := counting(t, "app")
	n := newNode(t)
	ref := origin.host() + "/app:1"
	file := n.write(t, "registries.yaml", "mirrors:\n  a:\n   endpoint: [\n")
	n.mustFail(t, ref, registry.ErrSettings, "pulling image "+ref, file+": line ")
	n.write(t, "registries.yaml", "")
	n.mustPull(t, ref)
	file = n.write(t, "certs.d/"+origin.host()+"/hosts.toml", "server = \"https://x\nskip_verify = true")
	asked.Store(0)
	n.mustFail(t, ref, registry.ErrSettings, file+": line 1")
	// https that settings name stays https, also on loopback.
	n.write(t, "certs.d/"+origin.host()+"/hosts.toml", fmt.Sprintf("server = %q", "https://"+origin.host()))
	n.mustFail(t, ref, ErrUnavailable, "HTTP response to HTTPS client")
	if asked.Load() != 0 {
		t.Errorf("%d requests", asked.Load())
	}
}

// protect lets only anna in.
func protect(srv *server) {
	srv.before = func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == "anna" && p == "right" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestPasswordFromSettings(t *testing.T) {
	srv := newServer(t)
	srv.push(t, "team/app", "1", smallImage(t))
	protect(srv)
	n := newNode(t)
	ref := srv.host() + "/team/app:1"
	n.mustFail(t, ref, ErrUnauthorized)
	n.write(t, "registries.yaml", fmt.Sprintf("configs:\n  %q:\n    auth: {username: anna, password: right}\n", srv.host()))
	n.mustPull(t, ref)
	n.write(t, "registries.yaml", "")
	n.write(t, "auth.json", fmt.Sprintf(`{"auths":{%q:{"auth":"YW5uYTpyaWdodA=="}}}`, srv.host()+"/team"))
	n.mustPull(t, ref)
	n.write(t, "auth.json", "{")
	n.mustFail(t, ref, registry.ErrSettings, "auth.json: line 1")
	// A pull secret is for the registry, and no mirror sees it.
	var seen atomic.Int64
	mirror := newServer(t)
	mirror.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "" {
			seen.Add(1)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	n.write(t, "auth.json", "{}")
	n.write(t, "registries.yaml", fmt.Sprintf("mirrors:\n  %q: {endpoint: [%q]}\n", srv.host(), mirror.URL))
	for _, opts := range []PullOptions{
		{Auth: Auth{Username: "anna", Password: "right"}},
		{Secrets: [][]byte{fmt.Appendf(nil, `{"auths":{%q:{"auth":"YW5uYTpyaWdodA=="}}}`, srv.host())}},
	} {
		if _, err := n.Pull(context.Background(), ref, opts); err != nil || seen.Load() != 0 {
			t.Errorf("%+v: %v, the mirror was given credentials %d times", opts, err, seen.Load())
		}
	}
}

// Credentials and headers that are for one host do not go on to another port of
// it, to another scheme, or to who leads back.
// TestLedAwayIsNotAsked has a storage ask for credentials, which it has no claim to.
func TestLedAwayIsNotAsked(t *testing.T) {
	p := smallImage(t)
	srv, storage := newServer(t), newServer(t)
	srv.push(t, "app", "1", p)
	protect(srv)
	inner := srv.before
	srv.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !inner(w, r) && strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, storage.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return r.Header.Get("Authorization") == ""
	}
	var tokens atomic.Int64
	storage.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			tokens.Add(1)
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token"`, storage.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	n := newNode(t)
	n.write(t, "auth.json", fmt.Sprintf(`{"auths":{%q:{"username":"anna","password":"right"}}}`, srv.host()))
	if _, err := n.Pull(t.Context(), srv.host()+"/app:1", PullOptions{}); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("%v", err)
	}
	if tokens.Load() != 0 {
		t.Errorf("the storage was asked for a token %d times", tokens.Load())
	}
}

func TestRedirectsLoseCredentials(t *testing.T) {
	p := smallImage(t)
	var leaked atomic.Value
	storage := newServer(t)
	storage.push(t, "app", "1", p)
	srv := newServer(t)
	srv.push(t, "app", "1", p)
	protect(srv)
	inner := srv.before
	srv.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/back" {
			if r.Header.Get("Authorization")+r.Header.Get("X-Key") != "" {
				leaked.Store("the way back")
			}
			http.Redirect(w, r, storage.URL+strings.TrimPrefix(r.URL.Query().Get("to"), "/"), http.StatusFound)
			return true
		}
		if inner(w, r) {
			return true
		}
		if r.Header.Get("X-Key") != "k" {
			leaked.Store("no header for the registry itself")
		}
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, storage.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	var blobs atomic.Int64
	storage.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization")+r.Header.Get("X-Key") != "" {
			leaked.Store("storage")
		}
		// Every other time it goes back and forth once more.
		if blobs.Add(1)%2 == 1 {
			http.Redirect(w, r, srv.URL+"/back?to="+url.QueryEscape(r.URL.Path), http.StatusFound)
			return true
		}
		return false
	}
	n := newNode(t)
	n.write(t, "certs.d/"+srv.host()+"/hosts.toml", fmt.Sprintf("server = %q\n[header]\nX-Key = \"k\"\n", srv.URL))
	n.write(t, "auth.json", fmt.Sprintf(`{"auths":{%q:{"username":"anna","password":"right"}}}`, srv.host()))
	n.mustPull(t, srv.host()+"/app:1")
	if leaked.Load() != nil {
		t.Errorf("seen at %v", leaked.Load())
	}
	if blobs.Load() < 6 {
		t.Errorf("%d requests for blobs", blobs.Load())
	}
}

// A mirror that gives up in the middle of a layer is gone on from elsewhere, and
// one that may only give blobs is not asked for tags.
func TestMirrorGivesUp(t *testing.T) {
	p := smallImage(t)
	origin, asked := counting(t, "app")
	mirror := newServer(t)
	mirror.push(t, "app", "1", p)
	var tags atomic.Int64
	mirror.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/manifests/1") {
			tags.Add(1)
		}
		if !strings.HasSuffix(r.URL.Path, string(digest.FromBytes(p.Layers[0]))) {
			return false
		}
		if r.Header.Get("Range") != "" {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(p.Layers[0])))
		_, _ = w.Write(p.Layers[0][:len(p.Layers[0])/2])
		return true
	}
	n := newNode(t)
	n.write(t, "certs.d/"+origin.host()+"/hosts.toml", fmt.Sprintf("[host.%q]\ncapabilities = [\"pull\"]\n", mirror.URL))
	n.mustPull(t, origin.host()+"/app:1")
	if tags.Load() != 0 || asked.Load() == 0 || mirror.blobs.Load() < 3 {
		t.Errorf("the mirror was asked for %d tags and %d blobs, the registry for %d things", tags.Load(), mirror.blobs.Load(), asked.Load())
	}
}
