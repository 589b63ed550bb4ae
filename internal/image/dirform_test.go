package image

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"go.skiff.dev/skiff/test/testimage"
)

// TestDirForm imports what `skopeo copy ... dir:` and `podman save --format docker-dir` write.
func TestDirForm(t *testing.T) {
	img := twoLayers()
	img.Gzip, img.Arch = true, "amd64"
	p, err := img.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var blobs []testimage.Member
	for _, b := range append([][]byte{p.Config}, p.Layers...) {
		blobs = append(blobs, testimage.File(digest.FromBytes(b).Encoded(), 0o644, b))
	}
	manifest := digest.FromBytes(p.Manifest)
	entry := func(d digest.Digest, arch string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(p.Manifest)), Platform: &ocispec.Platform{OS: "linux", Architecture: arch}}
	}
	index := marshal(t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{entry(digest.FromString("of another platform"), "s390x"), entry(manifest, "amd64")},
	})
	for name, members := range map[string][]testimage.Member{
		"one image":         {testimage.File("manifest.json", 0o644, p.Manifest), testimage.File("version", 0o644, []byte("Directory Transport Version: 1.1\n"))},
		"several platforms": {testimage.File("manifest.json", 0o644, index), testimage.File(manifest.Encoded()+".manifest.json", 0o644, p.Manifest)},
	} {
		data := tarOf(t, append(members, blobs...)...)
		for form, read := range map[string]func(*Store) ([]Image, error){
			"dir":    func(s *Store) ([]Image, error) { return s.ImportDir(t.Context(), extract(t, data), ImportOptions{}) },
			"stream": func(s *Store) ([]Image, error) { return s.Import(t.Context(), bytes.NewBuffer(data), ImportOptions{}) },
			"file":   func(s *Store) ([]Image, error) { return s.Import(t.Context(), bytes.NewReader(data), ImportOptions{}) },
		} {
			s := openStore(t, Options{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}})
			got, err := read(s)
			if err != nil || len(got) != 1 || got[0].ID != string(digest.FromBytes(p.Config)) || got[0].Manifest != string(manifest) {
				t.Errorf("%s, %s: %+v, %v", name, form, got, err)
			}
		}
	}
}

// What is wrong in a JSON document is said without the names of Go's types.
func TestJSONFaults(t *testing.T) {
	s := openStore(t, Options{})
	for _, text := range []string{`{"a":1}`, `[{"Config":1}]`, `"x"`, `{"schemaVersion":"2"}`} {
		for _, name := range []string{"manifest.json", "index.json"} {
			_, err := s.Import(t.Context(), bytes.NewReader(tarOf(t, testimage.File(name, 0o644, []byte(text)))), ImportOptions{})
			if !errors.Is(err, ErrInvalidArchive) || strings.Contains(err.Error(), "Go ") {
				t.Errorf("%s in %s: %v", text, name, err)
			}
		}
	}
}
