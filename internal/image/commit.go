package image

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// candidate is an image whose layers are held and which is about to enter the store.
type candidate struct {
	// manifest is empty for a docker-archive, which has none of this kind.
	manifest []byte
	// index is the digest of the index it was picked from, or empty.
	index  digest.Digest
	config []byte
	spec   ocispec.Image
	layers []layerWant
	// refs are the names it gets.
	refs []Reference
}

// parseConfig decodes and checks an image configuration.
func (s *Store) parseConfig(c *candidate) error {
	if err := json.Unmarshal(c.config, &c.spec); err != nil {
		return fmt.Errorf("%w: image configuration: %w", ErrInvalidArchive, jsonFault(err))
	}
	// An image made FROM scratch of nothing but settings has none, and says at least so.
	if n := len(c.spec.RootFS.DiffIDs); n == 0 && c.spec.RootFS.Type != "layers" {
		return fmt.Errorf("%w: image configuration lists no layers in rootfs.diff_ids", ErrInvalidArchive)
	} else if n > s.limits.Layers {
		return fmt.Errorf("%w: %d layers, at most %d are allowed", ErrLimit, n, s.limits.Layers)
	}
	for _, d := range c.spec.RootFS.DiffIDs {
		if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
			return fmt.Errorf("%w: image configuration: %q is no sha256 digest", ErrInvalidArchive, string(d))
		}
	}
	return nil
}

// commit makes images visible, all at once. Their layers must be held.
func (s *Store) commit(cands []*candidate) ([]Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.snapshotImages()
	var out []*Image
	for _, c := range cands {
		img, err := s.commitOne(c)
		if err != nil {
			s.images = before
			return nil, err
		}
		if !slices.Contains(out, img) {
			out = append(out, img)
		}
	}
	if err := s.saveImages(); err != nil {
		s.images = before
		return nil, err
	}
	s.stir()
	res := make([]Image, 0, len(out))
	for _, img := range out {
		res = append(res, img.clone())
	}
	return res, nil
}

func (s *Store) snapshotImages() map[string]*Image {
	out := make(map[string]*Image, len(s.images))
	for id, img := range s.images {
		c := img.clone()
		out[id] = &c
	}
	return out
}

func (s *Store) commitOne(c *candidate) (*Image, error) {
	manifest := c.manifest
	if manifest == nil {
		var err error
		if manifest, err = s.madeManifest(c); err != nil {
			return nil, err
		}
	}
	m, err := s.writeBlob(manifest)
	if err != nil {
		return nil, err
	}
	id, err := s.writeBlob(c.config)
	if err != nil {
		return nil, err
	}
	if err := s.inherit(c.spec.RootFS.DiffIDs); err != nil {
		return nil, err
	}
	img := s.images[string(id)]
	if img == nil {
		img = &Image{ID: string(id), Manifest: string(m)}
		s.images[img.ID] = img
	}
	img.Platform = c.spec.Platform
	img.Config = c.spec.Config
	img.Imported = s.now()
	if c.spec.Created != nil {
		img.Created = *c.spec.Created
	}
	img.Size = int64(len(manifest) + len(c.config))
	img.DiffIDs = nil
	for _, d := range c.spec.RootFS.DiffIDs {
		l := s.layers[d]
		if l == nil {
			return nil, fmt.Errorf("committing image %s: layer %s is missing", id, d)
		}
		img.DiffIDs = append(img.DiffIDs, string(d))
		img.Size += l.Bytes
	}
	for _, ref := range c.refs {
		s.giveName(img, ref, m, c.index)
	}
	return img, nil
}

func (s *Store) giveName(img *Image, ref Reference, manifest, index digest.Digest) {
	if ref.Tag != "" && ref.Digest == "" {
		s.giveTag(img, ref)
	}
	// A digest in the name alone proves nothing: an archive may claim any. What was pulled by its digest has it as its
	// manifest or index.
	for _, d := range []digest.Digest{manifest, index} {
		if d != "" {
			img.Digests = addSorted(img.Digests, ref.Name()+"@"+string(d))
			if d == ref.Digest {
				img.ByDigest = addSorted(img.ByDigest, ref.Name()+"@"+string(d))
			}
		}
	}
}

// madeManifest describes an image that came without one: layers as plain tar,
// which is what the store can give back.
func (s *Store) madeManifest(c *candidate) ([]byte, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(c.config), Size: int64(len(c.config)),
		},
		Layers: []ocispec.Descriptor{},
	}
	for _, d := range c.spec.RootFS.DiffIDs {
		l := s.layers[d]
		if l == nil {
			return nil, fmt.Errorf("describing image: layer %s is missing", d)
		}
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: l.TarBytes})
	}
	return json.Marshal(m)
}
