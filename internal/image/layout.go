package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker's own schema 2, which mean the same as OCI's.
const (
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	// schema 1 has no digests of uncompressed layers; nobody writes it since 2019.
	dockerSchema1 = "application/vnd.docker.distribution.manifest.v1"
)

// Names in an OCI layout's index (containerd's, and the OCI image spec's).
const (
	annotationImageName = "io.containerd.image.name"
	annotationRefName   = ocispec.AnnotationRefName
)

// maxIndexDepth bounds indexes in indexes.
const maxIndexDepth = 3

// manifestDoc is a manifest or an index: which one, its media type says, and
// its fields must agree (GHSA-xmmx-7jpf-fx42: ambiguous manifests).
type manifestDoc struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
}

// parseManifest decodes a manifest or index, whose descriptor or transport
// said it is of mediaType ("" if it said nothing).
func parseManifest(data []byte, mediaType string) (manifestDoc, error) {
	var m manifestDoc
	if err := json.Unmarshal(data, &m); err != nil && mediaType != "" { // "text/html" where a proxy answers
		return m, fmt.Errorf("%w: manifest of type %q: %w", ErrInvalidArchive, mediaType, jsonFault(err))
	} else if err != nil {
		return m, fmt.Errorf("%w: manifest: %w", ErrInvalidArchive, jsonFault(err))
	}
	if strings.HasPrefix(mediaType, dockerSchema1) || m.SchemaVersion == 1 {
		return m, fmt.Errorf("%w: manifest of Docker's schema 1, which is obsolete; push the image again with a current tool", ErrInvalidArchive)
	}
	if m.SchemaVersion != 2 {
		return m, fmt.Errorf("%w: manifest: schemaVersion is %d, it must be 2", ErrInvalidArchive, m.SchemaVersion)
	}
	if m.MediaType != "" && mediaType != "" && m.MediaType != mediaType {
		return m, fmt.Errorf("%w: manifest says it is %q, its descriptor %q", ErrInvalidArchive, m.MediaType, mediaType)
	}
	if m.MediaType == "" {
		m.MediaType = mediaType
	}
	isIndex, isManifest := m.Manifests != nil, m.Config != nil || m.Layers != nil
	if isIndex == isManifest {
		return m, fmt.Errorf("%w: manifest must have either \"manifests\" or \"config\" and \"layers\"", ErrInvalidArchive)
	}
	if isManifest && m.Config == nil {
		return m, fmt.Errorf("%w: manifest without \"config\"", ErrInvalidArchive)
	}
	switch m.MediaType {
	case "":
	case ocispec.MediaTypeImageIndex, dockerIndex:
		if !isIndex {
			return m, fmt.Errorf("%w: index of type %q without \"manifests\"", ErrInvalidArchive, m.MediaType)
		}
	case ocispec.MediaTypeImageManifest, dockerManifest:
		if !isManifest {
			return m, fmt.Errorf("%w: manifest of type %q without \"config\"", ErrInvalidArchive, m.MediaType)
		}
	default:
		return m, fmt.Errorf("%w: manifest of unknown type %q", ErrInvalidArchive, m.MediaType)
	}
	return m, nil
}

func (m manifestDoc) isIndex() bool { return m.Manifests != nil }

// layoutPick is an image manifest found in a layout's index.
type layoutPick struct {
	desc  ocispec.Descriptor
	index digest.Digest
}

// fromLayout reads the images of an OCI image layout that are for platform want.
func (s *Store) fromLayout(a archive, data []byte, want wanted) ([]*candidate, error) {
	top, err := parseManifest(data, "")
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if !top.isIndex() {
		return nil, fmt.Errorf("%w: index.json is no index", ErrInvalidArchive)
	}
	var out []*candidate
	var firstErr error
	for _, desc := range top.Manifests {
		if notAnImage(desc) {
			continue
		}
		c, err := s.layoutCandidate(a, desc, want)
		if err != nil {
			if firstErr == nil {
				firstErr = err
			}
			// Of several platforms without an index around them, one must do.
			if errors.Is(err, ErrPlatform) || errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 && firstErr != nil {
		return nil, firstErr
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: index.json lists no image", ErrInvalidArchive)
	}
	return mergeSame(out), nil
}

func (s *Store) layoutCandidate(a archive, desc ocispec.Descriptor, want wanted) (*candidate, error) {
	refs := layoutNames(desc)
	what := string(desc.Digest)
	if len(refs) > 0 {
		what = refs[0].String()
	}
	pick, data, m, err := s.descend(a, desc, want, what, 0)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", what, err)
	}
	c := &candidate{manifest: data, index: pick.index, refs: refs}
	if c.config, err = verified(a, m.Config.Digest, s.limits.Manifest, "configuration"); err != nil {
		return nil, fmt.Errorf("image %s: %w", what, err)
	}
	if err := s.fillFromManifest(c, m); err != nil {
		return nil, fmt.Errorf("image %s: %w", what, err)
	}
	return c, checkPlatform(what, c.spec.Platform, want)
}

// fillFromManifest checks the configuration against the manifest and says
// where the layers are.
func (s *Store) fillFromManifest(c *candidate, m manifestDoc) error {
	if !slices.Contains(configTypes, m.Config.MediaType) {
		return fmt.Errorf("%w: it is no container image: its configuration is of type %q", ErrInvalidArchive, m.Config.MediaType)
	}
	if err := s.parseConfig(c); err != nil {
		return err
	}
	if len(m.Layers) != len(c.spec.RootFS.DiffIDs) {
		return fmt.Errorf("%w: manifest lists %d layers, its configuration %d", ErrInvalidArchive, len(m.Layers), len(c.spec.RootFS.DiffIDs))
	}
	for i, l := range m.Layers {
		if !slices.Contains(layerTypes, l.MediaType) {
			return fmt.Errorf("%w: layer %d is of unknown type %q", ErrInvalidArchive, i, l.MediaType)
		}
		if l.Digest.Validate() != nil || l.Digest.Algorithm() != digest.SHA256 || l.Size < 0 {
			return fmt.Errorf("%w: layer %d: %q is no sha256 digest", ErrInvalidArchive, i, string(l.Digest))
		}
		c.layers = append(c.layers, layerWant{
			name: blobName(l.Digest), blob: l.Digest, blobSize: l.Size, diffID: c.spec.RootFS.DiffIDs[i],
		})
	}
	return nil
}

// descend follows indexes down to the manifest for the platform.
func (s *Store) descend(a archive, desc ocispec.Descriptor, want wanted, what string, depth int) (layoutPick, []byte, manifestDoc, error) {
	if depth > maxIndexDepth {
		return layoutPick{}, nil, manifestDoc{}, fmt.Errorf("%w: indexes nested deeper than %d", ErrInvalidArchive, maxIndexDepth)
	}
	data, err := verified(a, desc.Digest, s.limits.Manifest, "manifest")
	if err != nil {
		return layoutPick{}, nil, manifestDoc{}, err
	}
	m, err := parseManifest(data, desc.MediaType)
	if err != nil || !m.isIndex() {
		return layoutPick{desc: desc}, data, m, err
	}
	next, err := pickPlatform(m, want, what)
	if err != nil {
		return layoutPick{}, nil, manifestDoc{}, err
	}
	pick, data, m, err := s.descend(a, next, want, what, depth+1)
	pick.index = desc.Digest
	return pick, data, m, err
}

// pickPlatform chooses an index's manifest: the best variant of the wanted
// platform, the first among equals; one without a platform only if it is alone.
func pickPlatform(m manifestDoc, want wanted, what string) (ocispec.Descriptor, error) {
	var have []string
	var best *ocispec.Descriptor
	images := 0
	for i, d := range m.Manifests {
		if notAnImage(d) {
			continue
		}
		images++
		if d.Platform == nil || unnamed(*d.Platform) {
			continue
		}
		have = append(have, platformName(*d.Platform))
		if matches(want.Platform, *d.Platform) && (best == nil || variant(*d.Platform) > variant(*best.Platform)) {
			best = &m.Manifests[i]
		}
	}
	if best != nil {
		return *best, nil
	}
	if images == 1 && len(have) == 0 {
		for _, d := range m.Manifests {
			if !notAnImage(d) {
				return d, nil
			}
		}
	}
	if want.asked {
		return ocispec.Descriptor{}, fmt.Errorf("%w: %s has %s, asked for is %s", ErrPlatform, what, strings.Join(have, ", "), platformName(want.Platform))
	}
	return ocispec.Descriptor{}, fmt.Errorf("%w: %s has %s, this node is %s; get a variant for %s",
		ErrPlatform, what, strings.Join(have, ", "), platformName(want.Platform), platformName(want.Platform))
}

// notAnImage sorts out what builders put beside images: attestations,
// signatures and artifacts of other types.
func notAnImage(d ocispec.Descriptor) bool {
	switch d.MediaType {
	case ocispec.MediaTypeImageManifest, dockerManifest, ocispec.MediaTypeImageIndex, dockerIndex, "":
	default:
		return true
	}
	if d.ArtifactType != "" && d.ArtifactType != ocispec.MediaTypeImageConfig || d.Annotations["vnd.docker.reference.type"] != "" {
		return true
	}
	return d.Platform != nil && d.Platform.OS == "unknown"
}

// layoutNames are the names that an index gives an image. A bare tag names
// nothing ("latest" of what?) and is left out.
func layoutNames(d ocispec.Descriptor) []Reference {
	for _, key := range []string{annotationImageName, annotationRefName} {
		name := d.Annotations[key]
		if name == "" || key == annotationRefName && !strings.ContainsAny(name, "/:") {
			continue
		}
		if ref, err := ParseReference(name); err == nil {
			return []Reference{ref}
		}
	}
	return nil
}

// mergeSame joins entries that name one image several times.
func mergeSame(in []*candidate) []*candidate {
	var out []*candidate
next:
	for _, c := range in {
		for _, o := range out {
			if digest.FromBytes(o.manifest) == digest.FromBytes(c.manifest) {
				o.refs = append(o.refs, c.refs...)
				continue next
			}
		}
		out = append(out, c)
	}
	return out
}
