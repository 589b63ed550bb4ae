package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
)

// archive is where an import reads from: a tar that was streamed, a tar file
// that can be read out of order, or a directory.
type archive interface {
	// document returns a JSON document, at most limit bytes; fs.ErrNotExist.
	document(name string, limit int64) ([]byte, error)
	// layer returns the staged layer of that name; fs.ErrNotExist.
	layer(name string) (layerSource, error)
}

// layerSource is a layer that an archive has: already unpacked, because the
// stream has gone by, or still to be read.
type layerSource struct {
	staged *stagedLayer
	err    error
	open   func() (io.ReadCloser, error)
	// known says that the store has the layer under this diff id.
	known digest.Digest
}

// memberName cleans the name of an archive's member; "" is for names to ignore.
func memberName(name string) string {
	name = path.Clean(strings.TrimPrefix(name, "/"))
	if name == "." || name == ".." || strings.HasPrefix(name, "../") {
		return ""
	}
	return name
}

// linkTarget is where a link in an archive leads: "../ID/layer.tar" in what
// old Docker versions saved.
func linkTarget(name, target string, hard bool) string {
	if hard {
		return memberName(target)
	}
	return memberName(path.Join(path.Dir(name), target))
}

// blobName is a blob's place in an OCI image layout.
func blobName(d digest.Digest) string { return "blobs/" + string(d.Algorithm()) + "/" + d.Encoded() }

// digestOfName is the digest that a member's name claims, or "".
func digestOfName(name string) digest.Digest {
	hex, ok := strings.CutPrefix(name, "blobs/sha256/")
	if !ok {
		return ""
	}
	d := digest.NewDigestFromEncoded(digest.SHA256, hex)
	if d.Validate() != nil {
		return ""
	}
	return d
}

// verified returns a document that a digest names.
func verified(a archive, d digest.Digest, limit int64, what string) ([]byte, error) {
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("%w: %s: %q is no sha256 digest", ErrInvalidArchive, what, string(d))
	}
	data, err := a.document(blobName(d), limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s %s is missing from the archive: %w", ErrInvalidArchive, what, d, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, d, err)
	}
	if got := digest.FromBytes(data); got != d {
		return nil, fmt.Errorf("%w: %s %s: its content has digest %s; the archive is damaged, save it again", ErrDigest, what, d, got)
	}
	return data, nil
}
