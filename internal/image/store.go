package image

import (
	"context"
	"errors"
	"io"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var errNotYet = errors.New("not there yet")

// Store is the node's images. All methods may be called concurrently.
type Store struct{ opts Options }

// Open opens the store in opts.Dir, creating it when absent, and sweeps what a
// crash left behind. Only one process may have a store open; a second Open
// fails with a clear error.
func Open(opts Options) (*Store, error) { return &Store{opts: opts}, nil }

// Close marks a clean end and releases the directory.
func (s *Store) Close() error { return nil }

// Import reads a docker-archive or an OCI image layout, as tar, plain or
// compressed with gzip or zstd, and returns the images in it. A reader that is
// also an io.ReaderAt and io.Seeker (a file) is read out of order, so that
// known layers cost nothing.
func (s *Store) Import(ctx context.Context, r io.Reader, opts ImportOptions) ([]Image, error) {
	return nil, errNotYet
}

// ImportDir imports an OCI image layout or an unpacked docker-archive.
func (s *Store) ImportDir(ctx context.Context, dir string, opts ImportOptions) ([]Image, error) {
	return nil, errNotYet
}

// Pull fetches ref from its registry. Concurrent pulls of one reference with
// the same credentials are one pull.
func (s *Store) Pull(ctx context.Context, ref string, opts PullOptions) (Image, error) {
	return Image{}, errNotYet
}

// Resolve finds an image by tag, digest, id or unique short id.
// The error is ErrNotFound, ErrAmbiguous or ErrInvalidReference.
func (s *Store) Resolve(refOrID string) (Image, error) { return Image{}, errNotYet }

// List returns all images, by id.
func (s *Store) List() []Image { return nil }

// Spec returns the image's whole configuration (history, rootfs).
func (s *Store) Spec(id string) (ocispec.Image, error) { return ocispec.Image{}, errNotYet }

// Tag gives an image another name.
func (s *Store) Tag(refOrID, name string) (Image, error) { return Image{}, errNotYet }

// Pin keeps an image out of Prune (the CRI's Image.pinned), or lets it go.
func (s *Store) Pin(refOrID string, pinned bool) error { return errNotYet }

// Remove takes a name off an image and removes the image with its last name.
// By id it removes the image with all its names. An image that a lease holds
// stays: the error is an *InUseError.
func (s *Store) Remove(refOrID string) error { return errNotYet }

// Prepare leases the image to key (a container's or sandbox's id) and returns
// its layers, verifying them first when the last boot ended uncleanly. Calling
// it again with the same key replaces the lease. release ends the lease; it
// may be called more than once.
func (s *Store) Prepare(ctx context.Context, imageID, key string) (Layers, func(), error) {
	return Layers{}, nil, errNotYet
}

// Release ends the lease of key, if there is one.
func (s *Store) Release(key string) {}

// RetainLeases ends every lease whose key is not in keys: the container layer
// calls it once after its recovery. Leases outlive the process, not the boot.
func (s *Store) RetainLeases(keys []string) {}

// PruneOptions say what Prune may remove.
type PruneOptions struct {
	// UnusedFor spares images used or imported within this time.
	UnusedFor time.Duration
	// Bytes to free; 0 frees all that may be freed. Least recently used first.
	Bytes int64
	// Untagged removes only images without a tag.
	Untagged bool
}

// Prune removes images that no lease holds, and layers that no image needs.
func (s *Store) Prune(ctx context.Context, opts PruneOptions) (removed []Image, freed int64, err error) {
	return nil, 0, errNotYet
}

// FsInfo tells what the store uses. It reads no directory.
func (s *Store) FsInfo() FsInfo { return FsInfo{} }
