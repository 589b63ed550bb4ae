package image

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Reference is a full image name, as Docker normalises it.
type Reference struct {
	// Domain is the registry's host and port, "docker.io" for Docker Hub.
	Domain string
	// Path is the repository, "library/busybox".
	Path string
	// Tag is empty only when Digest is set.
	Tag string
	// Digest is the wanted manifest's or index's digest, or empty.
	Digest digest.Digest
}

// maxReference bounds the text of a reference: 255 bytes of name (the
// distribution spec's limit), 128 of tag, a digest and separators.
const maxReference = 255 + 1 + 128 + 1 + 140

// ParseReference normalises a name as Docker does: "busybox" is
// "docker.io/library/busybox:latest". With tag and digest both are kept and
// the digest decides. The error is ErrInvalidReference.
func ParseReference(s string) (Reference, error) {
	if len(s) > maxReference {
		return Reference{}, fmt.Errorf("%w: %q... has %d bytes, at most %d are allowed", ErrInvalidReference, s[:64], len(s), maxReference)
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Reference{}, fmt.Errorf("%w %q: %w", ErrInvalidReference, s, err)
	}
	ref := Reference{Domain: reference.Domain(named), Path: reference.Path(named)}
	if d, ok := named.(reference.Digested); ok {
		ref.Digest = d.Digest()
		if ref.Digest.Algorithm() != digest.SHA256 {
			return Reference{}, fmt.Errorf("%w %q: digest algorithm %q, only sha256 is supported", ErrInvalidReference, s, ref.Digest.Algorithm())
		}
	}
	if t, ok := named.(reference.Tagged); ok {
		ref.Tag = t.Tag()
	}
	if ref.Tag == "" && ref.Digest == "" {
		ref.Tag = "latest"
	}
	return ref, nil
}

// Name is the repository with its registry, without tag or digest.
func (r Reference) Name() string { return r.Domain + "/" + r.Path }

// String is the full name; ParseReference of it gives the same Reference.
func (r Reference) String() string {
	var b strings.Builder
	b.WriteString(r.Name())
	if r.Tag != "" {
		b.WriteString(":" + r.Tag)
	}
	if r.Digest != "" {
		b.WriteString("@" + string(r.Digest))
	}
	return b.String()
}

// Tagged is the name with its tag alone, or "" without one.
func (r Reference) Tagged() string {
	if r.Tag == "" {
		return ""
	}
	return r.Name() + ":" + r.Tag
}
