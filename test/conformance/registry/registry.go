// Package registry serves an OCI image layout for pulling, as the registries do
// that the suite's images come from elsewhere: on loopback, read only.
package registry

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
)

// Serve serves the layout of a directory, under the paths that its images have
// in their registries.
func Serve(dir string) (*httptest.Server, error) {
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, tags: map[string]string{}, types: map[string]string{}}
	return httptest.NewServer(s), s.read(data)
}

type server struct {
	dir string
	// tags maps REPOSITORY:TAG to a digest, types a digest to its media type.
	tags, types map[string]string
}

func (s *server) read(data []byte) error {
	var index struct {
		Manifests []struct {
			MediaType, Digest string
			Annotations       map[string]string
		}
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return err
	}
	for _, m := range index.Manifests {
		_, name, _ := strings.Cut(m.Annotations["io.containerd.image.name"], "/")
		s.tags[name] = m.Digest
		s.types[m.Digest] = m.MediaType
	}
	return nil
}

// ServeHTTP answers the pulling half of the distribution specification 1.1.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	if repo, ref, ok := cutLast(path, "/manifests/"); ok {
		digest := ref
		if !strings.HasPrefix(ref, "sha256:") {
			digest = s.tags[repo+":"+ref]
		}
		w.Header().Set("Content-Type", s.types[digest])
		w.Header().Set("Docker-Content-Digest", digest)
		s.blob(w, r, digest)
		return
	}
	if _, digest, ok := cutLast(path, "/blobs/"); ok {
		w.Header().Set("Content-Type", "application/octet-stream")
		s.blob(w, r, digest)
		return
	}
	if path != "" {
		http.NotFound(w, r)
	}
}

func (s *server) blob(w http.ResponseWriter, r *http.Request, digest string) {
	sum, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || strings.ContainsAny(sum, "/.") {
		http.NotFound(w, r)
		return
	}
	http.ServeFile(w, r, filepath.Join(s.dir, "blobs", "sha256", sum))
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
