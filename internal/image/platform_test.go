package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"go.skiff.dev/skiff/test/testimage"
)

// The best variant that the machine can run is taken, and none that it cannot.
func TestVariants(t *testing.T) {
	index := func(variants ...string) manifestDoc {
		var m manifestDoc
		for _, v := range variants {
			m.Manifests = append(m.Manifests, ocispec.Descriptor{Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: v}})
		}
		return m
	}
	for _, c := range []struct {
		node, want string
		has        []string
	}{
		{"", "", []string{"", "v2", "v3"}},
		{"v2", "v2", []string{"", "v2", "v3"}},
		{"v3", "v3", []string{"v2", "v3", "v4", ""}},
		{"v4", "v1", []string{"v1"}},
		{"v2", "none", []string{"v3", "v4"}},
		{"", "none", []string{"v2"}},
	} {
		got, err := pickPlatform(index(c.has...), wanted{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64", Variant: c.node}}, "x")
		switch {
		case c.want == "none":
			if err == nil || !strings.Contains(err.Error(), "linux/amd64") {
				t.Errorf("node %q takes %v of %q, %v", c.node, got.Platform, c.has, err)
			}
		case err != nil || got.Platform.Variant != c.want:
			t.Errorf("node %q takes %v of %q, %v", c.node, got.Platform, c.has, err)
		}
	}
	if p := hostPlatform(); p.OS != "linux" || p.Architecture != runtime.GOARCH {
		t.Errorf("this machine is %+v", p)
	}
}

// crane and go-containerregistry name no platform.
func TestUnnamedPlatform(t *testing.T) {
	img := testimage.Image{Names: []string{"app:1"}, Layers: []testimage.Layer{{testimage.File("f", 0o644, []byte("x"))}}}
	p, err := img.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(p.Config, &config); err != nil {
		t.Fatal(err)
	}
	config["os"], config["architecture"] = "", ""
	data := tarOf(t, testimage.File("l.tar", 0o644, p.Layers[0]), testimage.File("c.json", 0o644, marshal(t, config)),
		testimage.File("manifest.json", 0o644, marshal(t, []any{map[string]any{"Config": "c.json", "RepoTags": []string{"app:1"}, "Layers": []string{"l.tar"}}})))
	for range 2 { // and once more as it was saved
		s := openStore(t, Options{})
		if _, err := s.Import(t.Context(), bytes.NewReader(data), ImportOptions{}); err != nil {
			t.Fatal(err)
		}
		data = archiveOf(t, func(w io.Writer) error { return s.Save(t.Context(), w, "app:1") })
	}
}

// An image FROM scratch with nothing in it has settings and no layers.
func TestNoLayers(t *testing.T) {
	img := testimage.Image{Names: []string{"nothing:1"}, Config: ocispec.ImageConfig{User: "7"}}
	for form, data := range map[string][]byte{"docker": archiveOf(t, img.WriteDockerArchive), "oci": archiveOf(t, img.WriteOCILayout)} {
		s := openStore(t, Options{})
		if _, err := s.Import(t.Context(), bytes.NewReader(data), ImportOptions{}); err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		layers, release, err := s.Prepare(t.Context(), "nothing:1", "c")
		if err != nil || len(layers.Lower) != 1 {
			t.Fatalf("%s: %+v, %v", form, layers, err)
		}
		if es, err := os.ReadDir(layers.Lower[0]); err != nil || len(es) > 0 || !strings.HasPrefix(layers.Lower[0], layers.Dir+"/") {
			t.Errorf("%s: %v holds %v, %v", form, layers, es, err)
		}
		release()
		var again bytes.Buffer
		if err := s.Save(t.Context(), &again, "nothing:1"); err != nil {
			t.Fatal(err)
		}
		other := openStore(t, Options{Dir: filepath.Join(t.TempDir(), "other")})
		if imgs, err := other.Import(t.Context(), &again, ImportOptions{}); err != nil || imgs[0].Config.User != "7" {
			t.Errorf("%s, saved and imported: %+v, %v", form, imgs, err)
		}
	}
}

// TestPlatformErrors say what this node is only where nothing else was asked for.
func TestPlatformErrors(t *testing.T) {
	arm := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	s := openStore(t, Options{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}})
	m := manifestDoc{Manifests: []ocispec.Descriptor{{Platform: &arm}}}
	for _, c := range []struct{ asked, want string }{{"", "this node is linux/amd64"}, {"s390x", "asked for is linux/s390x"}} {
		p := ocispec.Platform{}
		if c.asked != "" {
			p = ocispec.Platform{OS: "linux", Architecture: c.asked}
		}
		_, index := pickPlatform(m, s.wanted(p), "x")
		for _, err := range []error{index, checkPlatform("x", arm, s.wanted(p))} {
			if !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), c.want) || c.asked != "" && strings.Contains(err.Error(), "this node") {
				t.Errorf("asked for %q: %v", c.asked, err)
			}
		}
	}
}
