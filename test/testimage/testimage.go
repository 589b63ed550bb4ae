// Package testimage packs container images for tests out of files, and out of
// programs that Debian's packages put on this machine. It needs no network and
// no tool, and the same files always give the same bytes.
package testimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is an image to pack.
type Image struct {
	// Names are its tags, such as "docker.io/library/busybox:latest".
	Names []string
	// Layers are bottom first.
	Layers []Layer
	Config ocispec.ImageConfig
	// Arch is the architecture it claims; "" is this machine's.
	Arch string
	// Gzip compresses layers, as registries have them.
	Gzip bool
}

// Layer is a list of tar members in their order.
type Layer []Member

// Member is one tar member. Mode 0 is 0755 for directories and 0644 else.
type Member struct {
	tar.Header
	Body []byte
}

// Dir makes a directory; Dir, File and Link are the usual members, owned by root.
func Dir(name string, mode int64) Member {
	return Member{Header: tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: mode}}
}

// File makes a regular file.
func File(name string, mode int64, body []byte) Member {
	return Member{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}, Body: body}
}

// Symlink makes a symbolic link.
func Symlink(name, target string) Member {
	return Member{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

// Hardlink makes a hard link to an earlier member.
func Hardlink(name, target string) Member {
	return Member{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}}
}

// Whiteout removes name of the layers below.
func Whiteout(dir, name string) Member { return File(dir+".wh."+name, 0, nil) }

// epoch is the time of all files without one of their own.
var epoch = time.Unix(1_700_000_000, 0)

// Tar packs a layer.
func (l Layer) Tar() ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	modes := map[string]int64{}
	for _, m := range l {
		hdr := m.Header
		// A hard link has the mode of its file, and some unpackers set it.
		if hdr.Typeflag == tar.TypeLink && hdr.Mode == 0 {
			hdr.Mode = modes[hdr.Linkname]
		}
		modes[hdr.Name] = hdr.Mode
		hdr.Size = int64(len(m.Body))
		if hdr.ModTime.IsZero() {
			hdr.ModTime = epoch
		}
		if err := tw.WriteHeader(&hdr); err != nil {
			return nil, fmt.Errorf("packing %q: %w", hdr.Name, err)
		}
		if _, err := tw.Write(m.Body); err != nil {
			return nil, fmt.Errorf("packing %q: %w", hdr.Name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return nil, fmt.Errorf("packing layer: %w", err)
	}
	return buf.Bytes(), nil
}

// Packed is an image as blobs.
type Packed struct {
	Names    []string
	Config   []byte
	Manifest []byte
	// Layers are as the manifest lists them, Plain the uncompressed tars.
	Layers, Plain [][]byte
}

// Pack makes the image's blobs.
func (img Image) Pack() (Packed, error) {
	p := Packed{Names: img.Names}
	arch := img.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	created := epoch.UTC()
	spec := ocispec.Image{
		Created: &created, Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		Config: img.Config, RootFS: ocispec.RootFS{Type: "layers"},
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, l := range img.Layers {
		plain, err := l.Tar()
		if err != nil {
			return p, err
		}
		blob, mediaType := plain, ocispec.MediaTypeImageLayer
		if img.Gzip {
			blob, mediaType = Gzip(plain), ocispec.MediaTypeImageLayerGzip
		}
		p.Plain, p.Layers = append(p.Plain, plain), append(p.Layers, blob)
		spec.RootFS.DiffIDs = append(spec.RootFS.DiffIDs, digest.FromBytes(plain))
		m.Layers = append(m.Layers, Descriptor(mediaType, blob))
	}
	var err error
	if p.Config, err = json.Marshal(spec); err != nil {
		return p, err
	}
	m.Config = Descriptor(ocispec.MediaTypeImageConfig, p.Config)
	p.Manifest, err = json.Marshal(m)
	return p, err
}

// Descriptor describes a blob.
func Descriptor(mediaType string, blob []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}
}

// Gzip compresses fast and without a time stamp.
func Gzip(data []byte) []byte {
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	// Writes to a bytes.Buffer do not fail.
	_, _ = zw.Write(data)
	_ = zw.Close()
	return buf.Bytes()
}

func hexOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// WriteDockerArchive writes what `docker save` wrote before the containerd
// store: layers first, the manifest last.
func (img Image) WriteDockerArchive(w io.Writer) error {
	p, err := img.Pack()
	if err != nil {
		return err
	}
	entry := map[string]any{"Config": hexOf(p.Config) + ".json", "RepoTags": p.Names}
	var layers []string
	var members Layer
	for i, l := range p.Layers {
		name := hexOf([]byte(fmt.Sprint(i, hexOf(l)))) + "/layer.tar"
		layers = append(layers, name)
		members = append(members, File(name, 0, l))
	}
	entry["Layers"] = layers
	manifest, err := json.Marshal([]any{entry})
	if err != nil {
		return err
	}
	members = append(members, File(hexOf(p.Config)+".json", 0, p.Config), File("manifest.json", 0, manifest))
	return writeTar(w, members)
}

// WriteOCILayout writes an OCI image layout as tar.
func (img Image) WriteOCILayout(w io.Writer) error {
	p, err := img.Pack()
	if err != nil {
		return err
	}
	idx := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	names := img.Names
	if len(names) == 0 {
		names = []string{""}
	}
	for _, n := range names {
		d := Descriptor(ocispec.MediaTypeImageManifest, p.Manifest)
		if n != "" {
			d.Annotations = map[string]string{"io.containerd.image.name": n}
		}
		idx.Manifests = append(idx.Manifests, d)
	}
	index, err := json.Marshal(idx)
	if err != nil {
		return err
	}
	members := Layer{File("oci-layout", 0, []byte(`{"imageLayoutVersion":"1.0.0"}`))}
	for _, b := range append([][]byte{p.Config, p.Manifest}, p.Layers...) {
		members = append(members, File("blobs/sha256/"+hexOf(b), 0, b))
	}
	return writeTar(w, append(members, File("index.json", 0, index)))
}

func writeTar(w io.Writer, members Layer) error {
	data, err := members.Tar()
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}
