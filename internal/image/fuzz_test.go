package image

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzReference: what is accepted is written in a form that means the same.
func FuzzReference(f *testing.F) {
	for _, s := range []string{"busybox", "a/b:c", "localhost:5000/x", "x@sha256:" + strings.Repeat("0", 64), "[::1]:80/x", "docker.io/x:y@sha256:z", "A", "a..b", ":", "@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseReference(s)
		if err != nil {
			return
		}
		again, err := ParseReference(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q is %+v; its text %q is %+v, %v", s, ref, ref.String(), again, err)
		}
	})
}

// FuzzManifest: what is accepted is one thing, an index or a manifest.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), "application/vnd.oci.image.index.v1+json")
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:x","size":1},"layers":[]}`), "")
	f.Add([]byte(`{"schemaVersion":2,"layers":[]}`), "")
	f.Add([]byte(`{"schemaVersion":1}`), "application/vnd.docker.distribution.manifest.v1+prettyjws")
	f.Fuzz(func(t *testing.T, data []byte, mediaType string) {
		m, err := parseManifest(data, mediaType)
		if err == nil && m.isIndex() == (m.Config != nil) {
			t.Errorf("neither or both: %+v", m)
		}
	})
}

// FuzzImport: any archive is imported or refused; nothing half-made stays.
func FuzzImport(f *testing.F) {
	img := twoLayers()
	f.Add(archiveOf(f, img.WriteDockerArchive))
	f.Add(archiveOf(f, img.WriteOCILayout))
	f.Add(containerdSave(f, true))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Open(Options{Dir: filepath.Join(t.TempDir(), "images"), Limits: Limits{LayerBytes: 1 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Import(context.Background(), bytes.NewReader(data), ImportOptions{}); err != nil {
			checkEmpty(t, s)
		}
	})
}
