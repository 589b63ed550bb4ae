package image

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// shortID is what may be the beginning of an id.
var shortID = regexp.MustCompile(`^[0-9a-f]{3,64}$`)

// Resolve finds an image by tag, digest, id or unique short id. A name goes
// before a short id, as Docker does it.
// The error is ErrNotFound, ErrAmbiguous or ErrInvalidReference.
func (s *Store) Resolve(refOrID string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.resolveLocked(refOrID)
	if err != nil {
		return Image{}, err
	}
	return img.clone(), nil
}

func (s *Store) resolveLocked(name string) (*Image, error) {
	if img, ok := s.images[name]; ok {
		return img, nil
	}
	hex := strings.TrimPrefix(name, "sha256:")
	if d := digest.NewDigestFromEncoded(digest.SHA256, hex); d.Validate() == nil {
		return s.byDigest(d, name)
	}
	ref, refErr := ParseReference(name)
	if refErr == nil && hex == name {
		if img := s.byName(ref); img != nil {
			return img, nil
		}
	}
	if shortID.MatchString(hex) {
		return s.byShortID(hex, name)
	}
	if refErr != nil {
		return nil, refErr
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, ref)
}

// byDigest finds an image by id or by its manifest's digest.
func (s *Store) byDigest(d digest.Digest, name string) (*Image, error) {
	if img, ok := s.images[string(d)]; ok {
		return img, nil
	}
	for _, img := range s.sorted() {
		if img.Manifest == string(d) {
			return img, nil
		}
		for _, full := range img.Digests {
			if strings.HasSuffix(full, "@"+string(d)) {
				return img, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
}

// byName finds an image by its full name. A digest decides over a tag.
func (s *Store) byName(ref Reference) *Image {
	for _, img := range s.images {
		if ref.Digest != "" {
			if slices.Contains(img.Digests, ref.Name()+"@"+string(ref.Digest)) {
				return img
			}
			continue
		}
		if slices.Contains(img.Tags, ref.Tagged()) {
			return img
		}
	}
	return nil
}

func (s *Store) byShortID(hex, name string) (*Image, error) {
	var found *Image
	for id, img := range s.images {
		if !strings.HasPrefix(id, "sha256:"+hex) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%w: %q; give more digits", ErrAmbiguous, name)
		}
		found = img
	}
	if found == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	return found, nil
}

// List returns all images, by id.
func (s *Store) List() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Image{}
	for _, img := range s.sorted() {
		out = append(out, img.clone())
	}
	return out
}

// Spec returns the image's whole configuration (history, rootfs).
func (s *Store) Spec(id string) (ocispec.Image, error) {
	img, err := s.Resolve(id)
	if err != nil {
		return ocispec.Image{}, err
	}
	data, err := s.readBlob(digest.Digest(img.ID))
	if err != nil {
		return ocispec.Image{}, fmt.Errorf("reading configuration of image %q: %w", id, err)
	}
	var spec ocispec.Image
	if err := json.Unmarshal(data, &spec); err != nil {
		return ocispec.Image{}, fmt.Errorf("decoding configuration of image %q: %w", id, err)
	}
	return spec, nil
}

// Tag gives an image another name.
func (s *Store) Tag(refOrID, name string) (Image, error) {
	refs, err := newNames([]string{name})
	if err != nil {
		return Image{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.resolveLocked(refOrID)
	if err != nil {
		return Image{}, err
	}
	before := s.snapshotImages()
	s.giveTag(img, refs[0])
	if err := s.saveImages(); err != nil {
		s.images = before
		return Image{}, err
	}
	return img.clone(), nil
}

// giveTag moves a tag to img, and names img's manifest in that repository.
func (s *Store) giveTag(img *Image, ref Reference) {
	tag := ref.Tagged()
	for _, other := range s.images {
		if other != img {
			other.Tags = slices.DeleteFunc(other.Tags, func(t string) bool { return t == tag })
		}
	}
	img.Tags = addSorted(img.Tags, tag)
	img.Digests = addSorted(img.Digests, ref.Name()+"@"+img.Manifest)
}

// Pin keeps an image out of Prune (the CRI's Image.pinned), or lets it go.
func (s *Store) Pin(refOrID string, pinned bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.resolveLocked(refOrID)
	if err != nil {
		return err
	}
	if img.Pinned == pinned {
		return nil
	}
	img.Pinned = pinned
	return s.saveImages()
}

func addSorted(list []string, v string) []string {
	i, found := slices.BinarySearch(list, v)
	if found {
		return list
	}
	return slices.Insert(list, i, v)
}

// clone copies what callers could change.
func (img *Image) clone() Image {
	out := *img
	out.Tags, out.Digests, out.ByDigest = slices.Clone(img.Tags), slices.Clone(img.Digests), slices.Clone(img.ByDigest)
	out.DiffIDs = slices.Clone(img.DiffIDs)
	return out
}
