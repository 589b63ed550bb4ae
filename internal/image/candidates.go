package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
)

// candidates reads what images an archive holds. Docker's containerd store
// writes both index.json and manifest.json; then the index is read, as it has
// digests, and names of manifest.json are added.
func (s *Store) candidates(a archive, want wanted) ([]*candidate, error) {
	index, err := a.document("index.json", s.limits.Manifest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	docker, derr := a.document("manifest.json", s.limits.Manifest)
	if derr != nil && !errors.Is(derr, fs.ErrNotExist) {
		return nil, fmt.Errorf("manifest.json: %w", derr)
	}
	switch {
	case err == nil:
		cands, err := s.fromLayout(a, index, want)
		if err == nil && docker != nil {
			s.addDockerNames(a, docker, cands)
		}
		if err != nil && docker != nil && errors.Is(err, fs.ErrNotExist) {
			return s.fromDocker(a, docker, want)
		}
		return cands, err
	case docker != nil:
		return s.fromDocker(a, docker, want)
	}
	return nil, fmt.Errorf("%w: it has neither manifest.json (docker save) nor index.json (OCI image layout); it is no image, or the end is missing: save it again", ErrInvalidArchive)
}

// dockerImage is one element of a docker-archive's manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (s *Store) fromDocker(a archive, data []byte, want wanted) ([]*candidate, error) {
	var list []dockerImage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%w: manifest.json is not the list of images that `docker save` writes: %w", ErrInvalidArchive, jsonFault(err))
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: manifest.json lists no image", ErrInvalidArchive)
	}
	var out []*candidate
	for _, d := range list {
		c, err := s.dockerCandidate(a, d, want)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// jsonFault says where JSON is wrong, without the names of Go's types.
func jsonFault(err error) error {
	var kind *json.UnmarshalTypeError
	if !errors.As(err, &kind) {
		return err
	}
	if kind.Field == "" {
		return fmt.Errorf("it is of type %s", kind.Value)
	}
	return fmt.Errorf("field %q is of type %s", kind.Field, kind.Value)
}

func (s *Store) dockerCandidate(a archive, d dockerImage, want wanted) (*candidate, error) {
	refs, err := parseRefs(d.RepoTags)
	if err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	what := strings.Join(d.RepoTags, ", ")
	config, err := s.dockerConfig(a, d)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", what, err)
	}
	c := &candidate{config: config, refs: refs}
	if err := s.parseConfig(c); err != nil {
		return nil, fmt.Errorf("image %s: %w", what, err)
	}
	if err := checkPlatform(what, c.spec.Platform, want); err != nil {
		return nil, err
	}
	if len(d.Layers) != len(c.spec.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%w: image %s: manifest.json lists %d layers, its configuration %d", ErrInvalidArchive, what, len(d.Layers), len(c.spec.RootFS.DiffIDs))
	}
	for i, name := range d.Layers {
		name = memberName(name)
		c.layers = append(c.layers, layerWant{name: name, blob: digestOfName(name), diffID: c.spec.RootFS.DiffIDs[i]})
	}
	return c, nil
}

func (s *Store) dockerConfig(a archive, d dockerImage) ([]byte, error) {
	name := memberName(d.Config)
	config, err := a.document(name, s.limits.Manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: its configuration %q is missing from the archive", ErrInvalidArchive, d.Config)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration %q: %w", d.Config, err)
	}
	// Where the name is a digest (HEX.json, sha256:HEX, blobs/sha256/HEX), hold it to that.
	hex := strings.TrimPrefix(strings.TrimSuffix(path.Base(name), ".json"), "sha256:")
	claim := digest.NewDigestFromEncoded(digest.SHA256, hex)
	if got := digest.FromBytes(config); claim.Validate() == nil && got != claim {
		return nil, fmt.Errorf("%w: configuration %s: its content has digest %s; the archive is damaged, save it again", ErrDigest, claim, got)
	}
	return config, nil
}

// addDockerNames gives images that manifest.json also lists its names.
func (s *Store) addDockerNames(a archive, data []byte, cands []*candidate) {
	var list []dockerImage
	if json.Unmarshal(data, &list) != nil {
		return
	}
	for _, d := range list {
		refs, err := parseRefs(d.RepoTags)
		if err != nil {
			continue
		}
		config, err := s.dockerConfig(a, d)
		if err != nil {
			continue
		}
		for _, c := range cands {
			if string(c.config) == string(config) {
				c.refs = append(c.refs, refs...)
			}
		}
	}
}
