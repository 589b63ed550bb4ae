package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Save writes images as one tar that is both an OCI image layout and a
// docker-archive, as Docker's containerd store does. Layers are plain tars,
// byte by byte as they were before compression, so ids stay the same; the
// manifest of an image that came compressed is a new one. An image that is
// given by a tag gets this name in the archive, one that is given by its id or
// digest gets all its names.
func (s *Store) Save(ctx context.Context, w io.Writer, refs ...string) error {
	sv := &saver{s: s, tw: tar.NewWriter(w), done: map[digest.Digest]bool{}}
	for _, ref := range refs {
		if err := sv.image(ctx, ref); err != nil {
			return fmt.Errorf("saving image %q: %w", ref, err)
		}
	}
	if err := sv.finish(); err != nil {
		return fmt.Errorf("saving images: %w", err)
	}
	return nil
}

type saver struct {
	s      *Store
	tw     *tar.Writer
	done   map[digest.Digest]bool
	index  []ocispec.Descriptor
	docker []dockerImage
	// plain are the manifests of docker's images, without names.
	plain []ocispec.Descriptor
}

func (sv *saver) image(ctx context.Context, ref string) error {
	img, err := sv.s.Resolve(ref)
	if err != nil {
		return err
	}
	// The lease keeps the layers while they are read.
	_, release, err := sv.s.Prepare(ctx, img.ID, fmt.Sprintf("save of %s %p", ref, sv))
	if err != nil {
		return err
	}
	defer release()
	tags := tagsOf(img, ref)
	if at := slices.IndexFunc(sv.docker, func(d dockerImage) bool { return d.Config == blobName(digest.Digest(img.ID)) }); at >= 0 {
		sv.anotherName(at, tags)
		return nil
	}
	c := &candidate{}
	if c.config, err = sv.s.readBlob(digest.Digest(img.ID)); err != nil {
		return err
	}
	if err := sv.s.parseConfig(c); err != nil {
		return err
	}
	manifest, layers, err := sv.s.describe(c)
	if err != nil {
		return err
	}
	entry := dockerImage{Config: blobName(digest.Digest(img.ID)), RepoTags: tags}
	for _, l := range layers {
		entry.Layers = append(entry.Layers, blobName(l.DiffID))
		err := sv.member(l.DiffID, l.TarBytes, func(w io.Writer) error { return sv.s.replay(ctx, l, w) })
		if err != nil {
			return fmt.Errorf("layer %s: %w", l.DiffID, err)
		}
	}
	for _, b := range [][]byte{c.config, manifest} {
		if err := sv.blob(b); err != nil {
			return err
		}
	}
	desc := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest),
		Size: int64(len(manifest)),
	}
	if !unnamed(img.Platform) {
		desc.Platform = &img.Platform
	}
	sv.docker = append(sv.docker, entry)
	sv.plain = append(sv.plain, desc)
	sv.addToIndex(desc, tags)
	return nil
}

func tagsOf(img Image, ref string) []string {
	if r, err := ParseReference(ref); err == nil && r.Digest == "" && slices.Contains(img.Tags, r.Tagged()) {
		return []string{r.Tagged()}
	}
	return img.Tags
}

// anotherName names an image that is in the archive already.
func (sv *saver) anotherName(at int, tags []string) {
	have := &sv.docker[at]
	tags = slices.DeleteFunc(slices.Clone(tags), func(t string) bool { return slices.Contains(have.RepoTags, t) })
	have.RepoTags = append(have.RepoTags, tags...)
	if len(tags) > 0 {
		sv.addToIndex(sv.plain[at], tags)
	}
}

// describe makes the manifest for plain layers and looks the layers up.
func (s *Store) describe(c *candidate) ([]byte, []*layer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	manifest, err := s.madeManifest(c)
	if err != nil {
		return nil, nil, err
	}
	var layers []*layer
	for _, d := range c.spec.RootFS.DiffIDs {
		layers = append(layers, s.layers[d])
	}
	return manifest, layers, nil
}

func (sv *saver) addToIndex(desc ocispec.Descriptor, tags []string) {
	if len(tags) == 0 {
		sv.index = append(sv.index, desc)
	}
	for _, tag := range tags {
		named := desc
		named.Annotations = map[string]string{annotationImageName: tag, annotationRefName: tag}
		sv.index = append(sv.index, named)
	}
}

func (sv *saver) blob(data []byte) error {
	return sv.member(digest.FromBytes(data), int64(len(data)), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// member writes a blob once, whatever number of images has it.
func (sv *saver) member(d digest.Digest, size int64, write func(io.Writer) error) error {
	if sv.done[d] {
		return nil
	}
	sv.done[d] = true
	return sv.file(blobName(d), size, write)
}

func (sv *saver) file(name string, size int64, write func(io.Writer) error) error {
	hdr := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}
	if err := sv.tw.WriteHeader(hdr); err != nil {
		return err
	}
	return write(sv.tw)
}

func (sv *saver) finish() error {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: sv.index}
	for _, doc := range []struct {
		name string
		v    any
	}{
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
		{"index.json", index}, {"manifest.json", sv.docker},
	} {
		data, err := json.Marshal(doc.v)
		if err != nil {
			return err
		}
		err = sv.file(doc.name, int64(len(data)), func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
		if err != nil {
			return err
		}
	}
	return sv.tw.Close()
}
