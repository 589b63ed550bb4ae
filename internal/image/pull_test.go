package image

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"go.skiff.dev/skiff/test/testimage"
)

// server is a real registry on loopback, with what a test puts before it.
type server struct {
	*httptest.Server
	before func(w http.ResponseWriter, r *http.Request) bool
	blobs  atomic.Int64
}

func newServer(t *testing.T) *server {
	t.Helper()
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.blobs.Add(1)
		}
		if r.Header.Get("X-Test-Push") == "" && s.before != nil && s.before(w, r) {
			return
		}
		reg.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return strings.TrimPrefix(s.URL, "http://") }

func (s *server) put(t *testing.T, path, contentType string, data []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, s.URL+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Test-Push", "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("PUT %s: %s", path, resp.Status)
	}
}

func (s *server) push(t *testing.T, repo, tag string, p testimage.Packed) {
	t.Helper()
	for _, b := range append([][]byte{p.Config}, p.Layers...) {
		s.put(t, "/v2/"+repo+"/blobs/uploads/1?digest="+string(digest.FromBytes(b)), "application/octet-stream", b)
	}
	s.put(t, "/v2/"+repo+"/manifests/"+tag, "application/vnd.oci.image.manifest.v1+json", p.Manifest)
}

func smallImage(t *testing.T) testimage.Packed {
	t.Helper()
	img := testimage.Image{Gzip: true, Layers: []testimage.Layer{
		{testimage.Dir("etc", 0o755), testimage.File("etc/a", 0o644, bytes.Repeat([]byte("abcd"), 64<<10))},
		{testimage.File("etc/b", 0o600, []byte("b")), testimage.Whiteout("etc/", "a")},
	}}
	p, err := img.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPull(t *testing.T) {
	srv := newServer(t)
	p := smallImage(t)
	srv.push(t, "team/app", "1", p)
	s := openStore(t, Options{})
	ref := srv.host() + "/team/app:1"
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			img, err := s.Pull(context.Background(), ref, PullOptions{})
			if err != nil {
				t.Error(err)
			} else if img.Manifest != string(digest.FromBytes(p.Manifest)) {
				t.Errorf("manifest %s", img.Manifest)
			}
		})
	}
	wg.Wait()
	if n := srv.blobs.Load(); n > 4 {
		t.Errorf("%d blobs were fetched for one image of 3", n)
	}
	img, err := s.Resolve(srv.host() + "/team/app@" + string(digest.FromBytes(p.Manifest)))
	if err != nil {
		t.Fatal(err)
	}
	before := srv.blobs.Load()
	if _, err := s.Pull(context.Background(), ref, PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := srv.blobs.Load() - before; n > 1 {
		t.Errorf("a second pull fetched %d blobs, only the configuration may move", n)
	}
	if len(img.DiffIDs) != 2 || len(img.Tags) != 1 || img.Tags[0] != ref {
		t.Errorf("image: %+v", img)
	}
}

// TestPullAgain asks whether a tag is still the same, which is no pull, before it pulls once more.
func TestPullAgain(t *testing.T) {
	srv := newServer(t)
	srv.push(t, "app", "1", smallImage(t))
	var gets atomic.Int64
	var noHead atomic.Bool
	srv.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodGet {
			gets.Add(1)
		}
		if r.Method == http.MethodHead && noHead.Load() {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	s := openStore(t, Options{})
	pull := func(what string, wantGets int64) Image {
		t.Helper()
		before := gets.Load()
		img, err := s.Pull(t.Context(), srv.host()+"/app:1", PullOptions{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := gets.Load() - before; n != wantGets {
			t.Errorf("%s: %d manifests were fetched, want %d", what, n, wantGets)
		}
		return img
	}
	first := pull("first", 1)
	if again := pull("unchanged", 0); again.ID != first.ID || again.LastUsed.IsZero() {
		t.Errorf("unchanged: %+v", again)
	}
	noHead.Store(true)
	pull("a registry that does not tell", 1)
	noHead.Store(false)
	other := testimage.Image{Layers: []testimage.Layer{{testimage.File("f", 0o644, []byte("another"))}}}
	p, err := other.Pack()
	if err != nil {
		t.Fatal(err)
	}
	srv.push(t, "app", "1", p)
	if changed := pull("changed", 1); changed.ID == first.ID {
		t.Error("the tag means another image now, and the old one was kept")
	}
	if _, err := s.Tag(first.ID, srv.host()+"/app:1"); err != nil {
		t.Fatal(err)
	}
	if back := pull("a tag that was moved here", 1); back.ID == first.ID {
		t.Error("what was tagged here was taken for the registry's")
	}
	_, err = s.Pull(t.Context(), srv.host()+"/app:1", PullOptions{Platform: ocispec.Platform{OS: "linux", Architecture: "s390x"}})
	if !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "asked for is linux/s390x") || strings.Contains(err.Error(), "this node") {
		t.Errorf("for another platform: %v", err)
	}
}

// TestPruneNameless removes what a tag does not mean any more, and not what was pulled by its digest.
func TestPruneNameless(t *testing.T) {
	srv := newServer(t)
	s := openStore(t, Options{})
	push := func(content string) string {
		t.Helper()
		p, err := testimage.Image{Layers: []testimage.Layer{{testimage.File("f", 0o644, []byte(content))}}}.Pack()
		if err != nil {
			t.Fatal(err)
		}
		srv.push(t, "app", "1", p)
		return srv.host() + "/app@" + string(digest.FromBytes(p.Manifest))
	}
	pull := func(ref string) Image {
		t.Helper()
		img, err := s.Pull(t.Context(), ref, PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	prune := func(want ...string) {
		t.Helper()
		removed, _, err := s.Prune(t.Context(), PruneOptions{Nameless: true})
		var got []string
		for _, img := range removed {
			got = append(got, img.ID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("removed %q, %v; want %q", got, err, want)
		}
	}
	tag := srv.host() + "/app:1"
	wanted := push("one")
	byDigest := pull(wanted)
	push("two")
	old := pull(tag)
	push("three")
	pull(tag)
	prune(old.ID)
	dir := s.FsInfo().Dir
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, Options{Dir: dir})
	prune()
	if got, err := s.Resolve(wanted); err != nil || got.ID != byDigest.ID {
		t.Errorf("the one by digest: %+v, %v", got, err)
	}
	// It has a tag as well, and the digest's name is given up.
	if _, err := s.Tag(byDigest.ID, "mine:1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(wanted); err != nil {
		t.Fatal(err)
	}
	other := push("four")
	if _, err := s.Tag(pull(other).ID, "mine:1"); err != nil {
		t.Fatal(err)
	}
	prune(byDigest.ID)
}

func TestPullCredentials(t *testing.T) {
	basic := func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == "anna" && p == "right" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"go away"}]}`)
		return true
	}
	srv := newServer(t)
	srv.push(t, "app", "1", smallImage(t))
	bearer := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			u, p, ok := r.BasicAuth()
			if ok && (u != "anna" || p != "right") {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			fmt.Fprintf(w, `{"token":"tok-%s-%s"}`, u, r.URL.Query().Get("scope"))
			return true
		}
		if r.Header.Get("Authorization") == "Bearer tok-anna-repository:app:pull" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token",service="x",scope="repository:app:pull"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	secret := func(user, password string) []byte {
		auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
		return fmt.Appendf(nil, `{"auths":{"http://%s":{"auth":%q}}}`, srv.host(), auth)
	}
	for name, before := range map[string]func(http.ResponseWriter, *http.Request) bool{"basic": basic, "bearer": bearer} {
		srv.before = before
		for _, c := range []struct {
			name string
			opts PullOptions
			want string
		}{
			{"right", PullOptions{Auth: Auth{Username: "anna", Password: "right"}}, ""},
			{"secret", PullOptions{Secrets: [][]byte{secret("anna", "right")}}, ""},
			{"second secret", PullOptions{Secrets: [][]byte{secret("anna", "wrong"), secret("anna", "right")}}, ""},
			{"wrong", PullOptions{Auth: Auth{Username: "anna", Password: "wrong"}}, "refused the credentials for app:1: 401 Unauthorized"},
			{"none", PullOptions{}, "wants credentials for app:1: 401"},
		} {
			t.Run(name+" "+c.name, func(t *testing.T) {
				s := openStore(t, Options{})
				_, err := s.Pull(context.Background(), srv.host()+"/app:1", c.opts)
				if c.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				if !errors.Is(err, ErrUnauthorized) {
					t.Fatalf("error %v", err)
				}
				if name == "basic" && !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %q lacks %q", err, c.want)
				}
				checkEmpty(t, s)
			})
		}
	}
}

// checkEmpty fails when a failed import or pull left anything behind.
func checkEmpty(t *testing.T, s *Store) {
	t.Helper()
	for _, d := range []string{tmpDir, layersDir, blobsDir, leasesDir} {
		entries, err := os.ReadDir(filepath.Join(s.opts.Dir, d))
		if err != nil || len(entries) != 0 {
			t.Errorf("%s has %v, %v", d, entries, err)
		}
	}
	if len(s.List()) != 0 {
		t.Errorf("images: %v", s.List())
	}
}

func TestPullFaults(t *testing.T) {
	p := smallImage(t)
	big := string(digest.FromBytes(p.Layers[0]))
	for _, c := range []struct {
		name, ref string
		before    func(w http.ResponseWriter, r *http.Request) bool
		is        error
		says      string
	}{
		{name: "no such tag", ref: "app:2", is: ErrNotFound, says: "check the name and the tag"},
		{name: "no such repository", ref: "none:1", is: ErrNotFound},
		{name: "wrong content", ref: "app:1", is: ErrDigest, before: func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, big) {
				return false
			}
			bad := bytes.Clone(p.Layers[0])
			bad[3] ^= 1 // a flag in the gzip header: it still decompresses
			bad[4] ^= 1
			bad[3] ^= 1
			_, _ = w.Write(bad)
			return true
		}},
		{name: "too long", ref: "app:1", says: "has more than", before: func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, big) {
				return false
			}
			_, _ = w.Write(append(bytes.Clone(p.Layers[0]), 1, 2, 3))
			return true
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newServer(t)
			srv.push(t, "app", "1", p)
			srv.before = c.before
			s := openStore(t, Options{})
			_, err := s.Pull(context.Background(), srv.host()+"/"+c.ref, PullOptions{})
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error: %v", err)
			}
			checkEmpty(t, s)
		})
	}
}

// A download that breaks off goes on where it did.
func TestPullResumes(t *testing.T) {
	p := smallImage(t)
	big := string(digest.FromBytes(p.Layers[0]))
	srv := newServer(t)
	srv.push(t, "app", "1", p)
	var ranges []string
	srv.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, big) {
			return false
		}
		ranges = append(ranges, r.Header.Get("Range"))
		if r.Header.Get("Range") != "" {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(p.Layers[0])))
		_, _ = w.Write(p.Layers[0][:len(p.Layers[0])/2])
		w.(http.Flusher).Flush()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
		return true
	}
	s := openStore(t, Options{})
	if _, err := s.Pull(context.Background(), srv.host()+"/app:1", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("bytes=%d-%d", len(p.Layers[0])/2, len(p.Layers[0])-1); len(ranges) != 2 || ranges[1] != want {
		t.Errorf("ranges %q, want the second to be %q", ranges, want)
	}
}
