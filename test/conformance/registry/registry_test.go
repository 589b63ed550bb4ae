package registry

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

func TestServe(t *testing.T) {
	dir := t.TempDir()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	index := `{"manifests":[{"mediaType":"application/x","digest":"sha256:aa","annotations":{"io.containerd.image.name":"registry.k8s.io/e2e/busybox:1"}}]}`
	for name, text := range map[string]string{filepath.Join(dir, "index.json"): index, filepath.Join(blobs, "aa"): "manifest", filepath.Join(blobs, "bb"): "blob"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server, err := Serve(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, c := range []struct {
		path, body, kind string
		status           int
	}{
		{"/v2/", "", "", 200},
		{"/v2/e2e/busybox/manifests/1", "manifest", "application/x", 200},
		{"/v2/e2e/busybox/manifests/sha256:aa", "manifest", "application/x", 200},
		{"/v2/e2e/busybox/blobs/sha256:bb", "blob", "application/octet-stream", 200},
		{"/v2/e2e/busybox/manifests/2", "", "", 404},
		{"/v2/e2e/busybox/blobs/sha256:..%2f..%2findex.json", "", "", 404},
		{"/index.json", "", "", 404},
	} {
		resp, err := http.Get(server.URL + c.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != c.status || c.status == 200 && (string(body) != c.body || c.kind != "" && resp.Header.Get("Content-Type") != c.kind) {
			t.Errorf("GET %s: %s %q of %s", c.path, resp.Status, body, resp.Header.Get("Content-Type"))
		}
	}
}
