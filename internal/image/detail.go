package image

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Detail is all that the store knows of one image.
type Detail struct {
	Image
	// Author is who built it, as the configuration claims.
	Author string `json:"author,omitempty"`
	// History are the steps of the build, the first one first.
	History []Step `json:"history"`
	// UsedBy are the keys of the leases, which are ids of containers.
	UsedBy []string `json:"usedBy,omitempty"`
}

// Step is one step of an image's build.
type Step struct {
	Created   time.Time `json:"created,omitzero"`
	CreatedBy string    `json:"createdBy,omitempty"`
	Comment   string    `json:"comment,omitempty"`
	// Layer is the diff id of the layer that the step made; empty where it
	// changed the configuration only.
	Layer string `json:"layer,omitempty"`
	// Size is what the layer takes on disk, in bytes.
	Size int64 `json:"size"`
}

// Inspect tells all about one image; errors are those of Resolve.
func (s *Store) Inspect(refOrID string) (Detail, error) {
	img, err := s.Resolve(refOrID)
	if err != nil {
		return Detail{}, err
	}
	spec, err := s.Spec(img.ID)
	if err != nil {
		return Detail{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Detail{Image: img, Author: spec.Author, History: s.steps(img, spec.History), UsedBy: s.leaseKeys(img.ID)}, nil
}

// steps gives each step of the history its layer. Builders may leave steps
// out: layers that no step speaks of become steps of their own.
func (s *Store) steps(img Image, history []ocispec.History) []Step {
	out := []Step{}
	rest := img.DiffIDs
	give := func(st *Step) {
		st.Layer = rest[0]
		if l := s.layers[digest.Digest(rest[0])]; l != nil {
			st.Size = l.Bytes
		}
		rest = rest[1:]
	}
	for _, h := range history {
		st := Step{CreatedBy: h.CreatedBy, Comment: h.Comment}
		if h.Created != nil {
			st.Created = *h.Created
		}
		if !h.EmptyLayer && len(rest) > 0 {
			give(&st)
		}
		out = append(out, st)
	}
	for len(rest) > 0 {
		var st Step
		give(&st)
		out = append(out, st)
	}
	return out
}
