package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"go.skiff.dev/skiff/test/testimage"
)

// twoLayers is an image whose upper layer removes, replaces and adds.
func twoLayers() testimage.Image {
	return testimage.Image{
		Names: []string{"docker.io/library/app:1"},
		Layers: []testimage.Layer{
			{testimage.Dir("tmp", 0o1777), testimage.Dir("etc", 0o755), testimage.File("etc/old", 0o644, []byte("old"))},
			{testimage.Whiteout("etc/", "old"), testimage.File("etc/new", 0o600, []byte("brand new")), testimage.File("tmp/x", 0o644, []byte("x"))},
		},
		Config: ocispec.ImageConfig{Cmd: []string{"/app"}, User: "7"},
	}
}

func tarOf(t testing.TB, members ...testimage.Member) []byte {
	t.Helper()
	data, err := testimage.Layer(members).Tar()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func archiveOf(t testing.TB, write func(io.Writer) error) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func blob(data []byte) testimage.Member {
	return testimage.File("blobs/sha256/"+digest.FromBytes(data).Encoded(), 0o644, data)
}

// containerdSave is what docker save writes with the containerd store: an
// index of several platforms of which only ours has its blobs.
func containerdSave(t testing.TB, ours bool) []byte {
	img := twoLayers()
	img.Gzip = true
	p, err := img.Pack()
	if err != nil {
		t.Fatal(err)
	}
	other := img
	other.Arch = "s390x"
	o, err := other.Pack()
	if err != nil {
		t.Fatal(err)
	}
	here := testimage.Descriptor(ocispec.MediaTypeImageManifest, p.Manifest)
	here.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	there := testimage.Descriptor(ocispec.MediaTypeImageManifest, o.Manifest)
	there.Platform = &ocispec.Platform{OS: "linux", Architecture: "s390x"}
	att := testimage.Descriptor(ocispec.MediaTypeImageManifest, []byte("{}"))
	att.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	manifests := []ocispec.Descriptor{there, att}
	members := []testimage.Member{blob(o.Manifest), blob(o.Config)}
	if ours {
		manifests = append(manifests, here)
		members = []testimage.Member{blob(p.Manifest), blob(p.Config), blob(p.Layers[0]), blob(p.Layers[1])}
	}
	index := marshal(t, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": manifests})
	desc := testimage.Descriptor(ocispec.MediaTypeImageIndex, index)
	desc.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/app:1", "org.opencontainers.image.ref.name": "1"}
	top := marshal(t, map[string]any{"schemaVersion": 2, "manifests": []any{desc}})
	members = append(members, blob(index), testimage.File("index.json", 0o644, top), testimage.File("oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)))
	return tarOf(t, members...)
}

func zstdOf(data []byte) []byte {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return enc.EncodeAll(data, nil)
}

// TestCompressions finds out what a layer is compressed with.
func TestCompressions(t *testing.T) {
	first := zstdOf([]byte("what pzstd begins with"))
	skip := append([]byte{0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0}, first[:4]...)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"zstd behind a frame to skip":  {append(skip, first...), "what pzstd begins with"},
		"zstd":                         {first, "what pzstd begins with"},
		"a file's name like bzip2's":   {[]byte("BZh-tool/README and so on"), "BZh-tool/README and so on"},
		"a file's name of nearly so":   {[]byte("BZh9-tool/README"), "BZh9-tool/README"},
		"shorter than any magic bytes": {[]byte("P*M"), "P*M"},
	} {
		r, err := decompress(bufio.NewReader(bytes.NewReader(c.data)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := decompress(bufio.NewReader(strings.NewReader("BZh91AY&SY"))); !errors.Is(err, ErrInvalidArchive) {
		t.Errorf("bzip2: %v", err)
	}
}

func TestImportForms(t *testing.T) {
	plain, zipped := twoLayers(), twoLayers()
	zipped.Gzip = true
	docker := archiveOf(t, plain.WriteDockerArchive)
	p, err := plain.Pack()
	if err != nil {
		t.Fatal(err)
	}
	// Old Docker versions linked a layer that came twice.
	linked := tarOf(t, testimage.File("a/layer.tar", 0o644, p.Plain[0]), testimage.Symlink("b/layer.tar", "../a/layer.tar"),
		testimage.File("c/layer.tar", 0o644, p.Plain[1]), testimage.File("c/VERSION", 0o644, []byte("1.0")), testimage.File("x.json", 0o644, p.Config),
		testimage.File("manifest.json", 0o644, marshal(t, []any{map[string]any{"Config": "x.json", "RepoTags": p.Names, "Layers": []string{"b/layer.tar", "c/layer.tar"}}})))
	for name, data := range map[string][]byte{
		"docker":            docker,
		"docker gzip":       testimage.Gzip(docker),
		"docker zstd":       zstdOf(docker),
		"docker gzip layer": archiveOf(t, zipped.WriteDockerArchive),
		"docker linked":     linked,
		"oci":               archiveOf(t, plain.WriteOCILayout),
		"oci gzip layer":    archiveOf(t, zipped.WriteOCILayout),
		"containerd store":  containerdSave(t, true),
	} {
		for form, r := range map[string]io.Reader{"stream": bytes.NewBuffer(data), "file": bytes.NewReader(data)} {
			t.Run(name+" "+form, func(t *testing.T) {
				s := openStore(t, Options{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}})
				if _, err := s.Import(context.Background(), r, ImportOptions{}); err != nil {
					t.Fatal(err)
				}
				checkTwoLayers(t, s)
			})
		}
		t.Run(name+" dir", func(t *testing.T) {
			if strings.HasPrefix(name, "docker gzip") && name != "docker gzip layer" || name == "docker zstd" {
				return
			}
			s := openStore(t, Options{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}})
			if _, err := s.ImportDir(context.Background(), extract(t, data), ImportOptions{}); err != nil {
				t.Fatal(err)
			}
			checkTwoLayers(t, s)
		})
	}
}

func extract(t *testing.T, data []byte) string {
	t.Helper()
	dir := t.TempDir()
	tr := tar.NewReader(bytes.NewReader(data))
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, hdr.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if hdr.Typeflag == tar.TypeSymlink {
			err = os.Symlink(hdr.Linkname, path)
		} else {
			body, _ := io.ReadAll(tr)
			err = os.WriteFile(path, body, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkTwoLayers(t *testing.T, s *Store) {
	t.Helper()
	img, err := s.Resolve("app:1")
	if err != nil {
		t.Fatal(err)
	}
	if img.Config.User != "7" || len(img.Digests) == 0 || img.Size == 0 {
		t.Errorf("image: %+v", img)
	}
	for _, name := range []string{img.ID, img.ID[7:19], "docker.io/library/app:1", img.Digests[0], img.Manifest} {
		if got, err := s.Resolve(name); err != nil || got.ID != img.ID {
			t.Errorf("resolving %q: %v, %v", name, got.ID, err)
		}
	}
	layers, release, err := s.Prepare(context.Background(), img.ID, "c")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if len(layers.Lower) != 2 {
		t.Fatalf("layers: %v", layers.Lower)
	}
	// The upper layer implies tmp/, which is sticky below.
	if info, err := os.Stat(filepath.Join(layers.Lower[0], "tmp")); err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("tmp in the upper layer: %v, %v", info.Mode(), err)
	}
	if info, err := os.Lstat(filepath.Join(layers.Lower[0], "etc/old")); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("whiteout: %v, %v", info, err)
	}
}

func TestImportFaults(t *testing.T) {
	img := twoLayers()
	docker := archiveOf(t, img.WriteDockerArchive)
	oci := archiveOf(t, img.WriteOCILayout)
	foreign := twoLayers()
	foreign.Arch = "s390x"
	flip := func(data []byte, at string) []byte {
		data = bytes.Clone(data)
		i := bytes.Index(data, []byte(at))
		data[i] ^= 0x20
		return data
	}
	for name, c := range map[string]struct {
		data []byte
		is   error
		says string
	}{
		"empty":              {nil, ErrInvalidArchive, "neither manifest.json"},
		"text":               {bytes.Repeat([]byte("no tar "), 200), ErrInvalidArchive, "no tar file"},
		"no manifest":        {tarOf(t, testimage.File("x", 0o644, []byte("x"))), ErrInvalidArchive, "neither manifest.json"},
		"truncated":          {docker[:1700], ErrInvalidArchive, "truncated"},
		"cut at a member":    {docker[:len(docker)-4096], ErrInvalidArchive, "save"},
		"truncated gzip":     {testimage.Gzip(docker)[:200], ErrInvalidArchive, "truncated"},
		"foreign":            {archiveOf(t, foreign.WriteDockerArchive), ErrPlatform, "is for linux/s390x, this node is linux/amd64"},
		"foreign index":      {containerdSave(t, false), ErrPlatform, "linux/s390x"},
		"changed layer":      {flip(docker, "brand new"), ErrDigest, "save it again"},
		"changed blob":       {flip(oci, "brand new"), ErrDigest, ""},
		"changed config":     {flip(docker, `"Cmd"`), ErrDigest, "configuration"},
		"broken json":        {tarOf(t, testimage.File("manifest.json", 0o644, []byte("[{"))), ErrInvalidArchive, "manifest.json"},
		"digest as path":     {tarOf(t, testimage.File("index.json", 0o644, []byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:../../../../etc/passwd","size":1,"mediaType":"application/vnd.oci.image.manifest.v1+json"}]}`))), ErrInvalidArchive, "no sha256 digest"},
		"ambiguous manifest": {tarOf(t, testimage.File("index.json", 0o644, []byte(`{"schemaVersion":2,"manifests":[],"layers":[]}`))), ErrInvalidArchive, "either"},
		"huge manifest":      {tarOf(t, testimage.File("manifest.json", 0o644, bytes.Repeat([]byte("["), 5<<20))), nil, ""},
	} {
		for form, r := range map[string]io.Reader{"stream": bytes.NewBuffer(c.data), "file": bytes.NewReader(c.data)} {
			t.Run(name+" "+form, func(t *testing.T) {
				s := openStore(t, Options{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}})
				_, err := s.Import(context.Background(), r, ImportOptions{})
				if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error: %v", err)
				}
				checkEmpty(t, s)
			})
		}
	}
}

func TestImportLimits(t *testing.T) {
	img := testimage.Image{Names: []string{"big:1"}, Gzip: true, Layers: []testimage.Layer{{testimage.File("zeros", 0o644, make([]byte, 8<<20))}}}
	data := archiveOf(t, img.WriteDockerArchive)
	for name, limits := range map[string]Limits{"bytes": {LayerBytes: 4 << 20}, "reserve": {ReserveBytes: 1 << 60}} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Options{Limits: limits})
			_, err := s.Import(context.Background(), bytes.NewReader(data), ImportOptions{})
			if !errors.Is(err, ErrLimit) && !errors.Is(err, ErrNoSpace) {
				t.Errorf("error: %v", err)
			}
			checkEmpty(t, s)
		})
	}
}
