package security

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/test/testimage"
)

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// parts are an image's documents, for a test to tell lies in.
type parts struct {
	config   map[string]any
	manifest map[string]any
	index    map[string]any
	layer    []byte
	// blobs are added as they are; the keys are their names below blobs/sha256.
	blobs map[string][]byte
	extra []testimage.Member
}

func descriptor(mediaType string, data []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest.FromBytes(data).String(), "size": len(data)}
}

// layout packs an OCI image layout whose parts change has had its hands on, first
// the configuration and the layer, then the manifest, then the index.
func layout(t testing.TB, config, manifest, index func(*parts)) []byte {
	t.Helper()
	do := func(f func(*parts), p *parts) {
		if f != nil {
			f(p)
		}
	}
	p := &parts{blobs: map[string][]byte{}, layer: members(t, file("f"))}
	p.config = map[string]any{
		"os": "linux", "architecture": "amd64", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{digest.FromBytes(p.layer).String()}},
	}
	do(config, p)
	c := mustJSON(t, p.config)
	p.manifest = map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": descriptor(ocispec.MediaTypeImageConfig, c), "layers": []any{descriptor(ocispec.MediaTypeImageLayer, p.layer)},
	}
	do(manifest, p)
	m := mustJSON(t, p.manifest)
	p.index = map[string]any{"schemaVersion": 2, "manifests": []any{descriptor(ocispec.MediaTypeImageManifest, m)}}
	for _, b := range [][]byte{c, m, p.layer} {
		if name := digest.FromBytes(b).Encoded(); p.blobs[name] == nil {
			p.blobs[name] = b
		}
	}
	do(index, p)
	ms := []testimage.Member{testimage.File("oci-layout", 0, []byte(`{"imageLayoutVersion":"1.0.0"}`)), testimage.File("index.json", 0, mustJSON(t, p.index))}
	for name, b := range p.blobs {
		ms = append(ms, testimage.File("blobs/sha256/"+name, 0, b))
	}
	return members(t, append(ms, p.extra...)...)
}

func first(list any) map[string]any { return list.([]any)[0].(map[string]any) }

// chain is an index in an index in an index, deep times; the last one names the manifest.
func chain(deep int) func(*parts) {
	return func(p *parts) {
		for range deep {
			data, err := json.Marshal(p.index)
			if err != nil {
				panic(err)
			}
			p.blobs[digest.FromBytes(data).Encoded()] = data
			p.index = map[string]any{"schemaVersion": 2, "manifests": []any{descriptor(ocispec.MediaTypeImageIndex, data)}}
		}
	}
}

// hostileArchive is an archive whose documents lie.
type hostileArchive struct {
	name string
	data []byte
	is   error
	says string
}

func hostileArchives(t testing.TB, c *canary) []hostileArchive {
	bad := image.ErrInvalidArchive
	blobOf := func(name string) string { return "blobs/sha256/" + name }
	half := strings.Repeat("0", 64)
	setLayer := func(key string, v any) func(*parts) { return func(p *parts) { first(p.manifest["layers"])[key] = v } }
	setConfig := func(key string, v any) func(*parts) {
		return func(p *parts) { p.manifest["config"].(map[string]any)[key] = v }
	}
	setDesc := func(key string, v any) func(*parts) { return func(p *parts) { first(p.index["manifests"])[key] = v } }
	diffIDs := func(ids ...any) func(*parts) {
		return func(p *parts) { p.config["rootfs"] = map[string]any{"type": "layers", "diff_ids": ids} }
	}
	return []hostileArchive{
		// Digests and sizes.
		{"layer's digest lies", layout(t, nil, nil, func(p *parts) {
			name := strings.TrimPrefix(first(p.manifest["layers"])["digest"].(string), "sha256:")
			p.blobs[name] = members(t, file("g"))
		}), image.ErrDigest, "its content has digest"},
		{"layer's size lies", layout(t, nil, setLayer("size", 7), nil), image.ErrDigest, "its descriptor says 7"},
		{"layer's size is negative", layout(t, nil, setLayer("size", -1), nil), bad, "layer 0"},
		{"layer's size is no number", layout(t, nil, setLayer("size", "x"), nil), bad, "manifest"},
		{"diff id lies", layout(t, diffIDs("sha256:"+half), nil, nil), image.ErrDigest, "the image's configuration says sha256:000"},
		{"diff id is a path", layout(t, diffIDs("sha256:../../../../"+c.abs("file")), nil, nil), bad, "is no sha256 digest"},
		{"more diff ids than layers", layout(t, diffIDs("sha256:"+half, "sha256:"+half), nil, nil), bad, "manifest lists 1 layers, its configuration 2"},
		{"a thousand layers", layout(t, diffIDs(many("sha256:"+half, 1000)...), nil, nil), image.ErrLimit, "1000 layers, at most 256"},
		{"configuration's digest lies", layout(t, nil, setConfig("digest", "sha256:"+half), func(p *parts) { p.blobs[half] = []byte("{}") }), image.ErrDigest, "configuration sha256:000"},
		{"configuration's digest is a path", layout(t, nil, setConfig("digest", "sha256:"+c.up("file")), nil), bad, "is no sha256 digest"},
		{"manifest's digest is a path", layout(t, nil, nil, setDesc("digest", "../"+c.up("file"))), bad, "is no sha256 digest"},
		{"manifest's digest is of an unknown kind", layout(t, nil, nil, setDesc("digest", "md5:"+half[:32])), bad, "is no sha256 digest"},
		{"manifest's digest lies", layout(t, nil, nil, func(p *parts) {
			setDesc("digest", "sha256:"+half)(p)
			p.blobs[half] = mustJSON(t, p.manifest)
		}), image.ErrDigest, "manifest sha256:000"},
		// An index cannot hold its own digest, so a cycle is a lie as well.
		{"index names itself", layout(t, nil, nil, func(p *parts) {
			loop := map[string]any{"schemaVersion": 2, "manifests": []any{map[string]any{"mediaType": ocispec.MediaTypeImageIndex, "digest": "sha256:" + half, "size": 1}}}
			p.index, p.blobs[half] = loop, mustJSON(t, loop)
		}), image.ErrDigest, "manifest sha256:000"},
		{"indexes in indexes", layout(t, nil, nil, chain(8)), bad, "indexes nested deeper than"},
		{"ten thousand manifests", layout(t, nil, nil, func(p *parts) {
			p.index["manifests"] = many(map[string]any{"mediaType": ocispec.MediaTypeImageManifest, "digest": "sha256:" + half, "size": 1}, 10_000)
		}), bad, "is missing from the archive"},
		// What kind of thing it is.
		{"manifest and index at once", layout(t, nil, func(p *parts) { p.manifest["manifests"] = []any{} }, nil), bad, "either"},
		{"index that is a manifest", layout(t, nil, nil, setDesc("mediaType", ocispec.MediaTypeImageIndex)), bad, "manifest says it is"},
		{"manifest of an unknown type", layout(t, nil, func(p *parts) { p.manifest["mediaType"] = "application/x-evil" }, setDesc("mediaType", "")), bad, "unknown type"},
		{"layer of an unknown type", layout(t, nil, setLayer("mediaType", "application/x-evil"), nil), bad, "layer 0 is of unknown type"},
		{"encrypted layer", layout(t, nil, setLayer("mediaType", ocispec.MediaTypeImageLayer+"+encrypted"), nil), bad, "layer 0 is of unknown type"},
		{"artifact for an image", layout(t, nil, setConfig("mediaType", "application/vnd.cncf.helm.config.v1+json"), nil), bad, "it is no container image"},
		{"schema 1", layout(t, nil, func(p *parts) { p.manifest["schemaVersion"] = 1 }, nil), bad, "schema 1"},
		{"schema 3", layout(t, nil, func(p *parts) { p.manifest["schemaVersion"] = 3 }, nil), bad, "schemaVersion is 3"},
		{"another system", layout(t, func(p *parts) { p.config["os"] = "windows" }, nil, nil), image.ErrPlatform, "windows/amd64"},
		// Documents.
		{"configuration is no object", members(t, file("f"), testimage.File("manifest.json", 0, []byte(`[{"Config":"c.json","Layers":[]}]`)), testimage.File("c.json", 0, []byte("[]"))), bad, "configuration"},
		{"a million brackets", members(t, testimage.File("manifest.json", 0, bytes.Repeat([]byte("["), 1<<20))), bad, "manifest.json"},
		{"document of 5 MB", members(t, testimage.File("index.json", 0, join([]byte(`{"x":"`), bytes.Repeat([]byte("x"), 5<<20), []byte(`"}`)))), nil, ""},
		{"layer's name is a path", members(t, testimage.File("manifest.json", 0, []byte(`[{"Config":"c.json","Layers":["`+c.up("file")+`"]}]`)), testimage.File("c.json", 0, mustJSON(t, map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"diff_ids": []any{"sha256:" + half}}}))), bad, "missing from the archive"},
		{"configuration's name is a path", members(t, testimage.File("manifest.json", 0, []byte(`[{"Config":"`+c.up("file")+`","Layers":[]}]`))), bad, "missing"},
		{"members that are links out", members(t, member(tar.TypeSymlink, "index.json", c.abs("file")), member(tar.TypeSymlink, "manifest.json", c.up("file"))), bad, "neither manifest.json"},
		{"members that link in a circle", members(t, member(tar.TypeSymlink, "index.json", "manifest.json"), member(tar.TypeSymlink, "manifest.json", "index.json")), bad, "neither manifest.json"},
		{"blob that is a link out", members(t, testimage.File("index.json", 0, mustJSON(t, map[string]any{"schemaVersion": 2, "manifests": []any{map[string]any{"mediaType": ocispec.MediaTypeImageManifest, "digest": "sha256:" + half, "size": 5}}})), member(tar.TypeSymlink, blobOf(half), c.abs("file"))), bad, "missing from the archive"},
		{"member's name of a megabyte", members(t, file(strings.Repeat("x/", 1<<18)+"x")), image.ErrLimit, "member's name of"},
		// Compression.
		{"gzip of nothing", []byte("\x1f\x8b\x08\x00"), bad, ""},
		{"gzip of noise", join([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), bytes.Repeat([]byte{0xa5}, 4096)), bad, "decompressing"},
		{"gzip cut off", testimage.Gzip(members(t, testimage.File("f", 0, make([]byte, 1<<20))))[:600], bad, ""},
		{"zstd with a window of 2 GB", []byte("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00x"), bad, "decompressing"},
		{"zstd cut off", zstdOf(members(t, testimage.File("f", 0, []byte(strings.Repeat("abc", 5000)))))[:60], bad, ""},
		{"xz", []byte("\xfd7zXZ\x00\x00\x00\x00\x00\x00\x00"), bad, "xz or bzip2"},
		{"gzip in gzip in gzip", testimage.Gzip(testimage.Gzip(testimage.Gzip(layout(t, nil, nil, nil)))), bad, "no tar file"},
		{"reference with a smuggled name", layout(t, nil, nil, setDesc("annotations", map[string]any{"org.opencontainers.image.ref.name": "../../" + c.abs("file") + "\n:x"})), nil, "in"},
	}
}

func many(v any, n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func zstdOf(data []byte) []byte {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return enc.EncodeAll(data, nil)
}

// TestHostileArchives imports archives whose documents lie. None but the last is
// an image; what is taken of that one is no name.
func TestHostileArchives(t *testing.T) {
	c := newCanary(t)
	for _, h := range hostileArchives(t, c) {
		for form, r := range map[string]io.Reader{"stream": bytes.NewBuffer(h.data), "file": bytes.NewReader(h.data)} {
			t.Run(h.name+"/"+form, func(t *testing.T) {
				s, dir := store(t, image.Limits{})
				imgs, err := s.Import(t.Context(), r, image.ImportOptions{})
				c.check(h.name)
				if h.says == "in" {
					if err != nil || len(imgs) != 1 || len(imgs[0].Tags) > 0 {
						t.Errorf("%+v, %v", imgs, err)
					}
					return
				}
				if err == nil || h.is != nil && !errors.Is(err, h.is) || !strings.Contains(err.Error(), h.says) {
					t.Errorf("%v is not %v or does not say %q", err, h.is, h.says)
				}
				nothingLeft(t, s, dir)
			})
		}
	}
}

// TestHostileDirectory imports OCI layouts that are directories with something else in place of a blob.
func TestHostileDirectory(t *testing.T) {
	c := newCanary(t)
	m := []byte(`{"schemaVersion":2}`)
	index := mustJSON(t, map[string]any{"schemaVersion": 2, "manifests": []any{descriptor(ocispec.MediaTypeImageManifest, m)}})
	name := digest.FromBytes(m).Encoded()
	for what, plant := range map[string]func(blob string) error{
		"absolute link": func(blob string) error { return os.Symlink(c.abs("file"), blob) },
		"relative link": func(blob string) error { return os.Symlink(c.up("file"), blob) },
		"link to proc":  func(blob string) error { return os.Symlink("/proc/self/environ", blob) },
		"pipe":          func(blob string) error { return syscall.Mkfifo(blob, 0o600) },
		"directory":     func(blob string) error { return os.Mkdir(blob, 0o700) },
		"device":        func(blob string) error { return syscall.Mknod(blob, syscall.S_IFCHR|0o600, 1<<8|5) },
	} {
		t.Run(what, func(t *testing.T) {
			from := t.TempDir()
			blobs := filepath.Join(from, "blobs/sha256")
			if err := errors.Join(os.MkdirAll(blobs, 0o700), os.WriteFile(filepath.Join(from, "index.json"), index, 0o600), plant(filepath.Join(blobs, name))); err != nil {
				t.Fatal(err)
			}
			s, dir := store(t, image.Limits{})
			if _, err := s.ImportDir(t.Context(), from, image.ImportOptions{}); err == nil || !strings.Contains(err.Error(), name[:12]) {
				t.Errorf("%v does not name the blob", err)
			}
			c.check(what)
			nothingLeft(t, s, dir)
		})
	}
}
