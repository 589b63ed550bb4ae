package image

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Remove takes a name off an image and removes the image with its last name.
// By id it removes the image with all its names. An image that a lease holds
// stays: the error is an *InUseError.
func (s *Store) Remove(refOrID string) error {
	s.mu.Lock()
	img, err := s.resolveLocked(refOrID)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	if s.untag(img, refOrID) {
		defer s.mu.Unlock()
		return s.saveImages()
	}
	if keys := s.leaseKeys(img.ID); len(keys) > 0 {
		s.mu.Unlock()
		return &InUseError{Ref: refOrID, Keys: keys}
	}
	delete(s.images, img.ID)
	err = s.saveImages()
	gone := s.detachUnreferenced()
	s.mu.Unlock()
	s.destroy(gone)
	return err
}

// untag takes one name off and says whether the image has another one left.
func (s *Store) untag(img *Image, name string) bool {
	ref, err := ParseReference(name)
	if err != nil || strings.HasPrefix(name, "sha256:") {
		return false
	}
	if ref.Digest != "" {
		full := ref.Name() + "@" + string(ref.Digest)
		if !slices.Contains(img.Digests, full) || len(img.Tags) == 0 {
			return false
		}
		img.Digests = slices.DeleteFunc(img.Digests, func(d string) bool { return d == full })
		return true
	}
	if !slices.Contains(img.Tags, ref.Tagged()) || len(img.Tags) < 2 {
		return false
	}
	img.Tags = slices.DeleteFunc(img.Tags, func(t string) bool { return t == ref.Tagged() })
	// Digests of a repository go with the last of its tags.
	prefix := ref.Name() + ":"
	if !slices.ContainsFunc(img.Tags, func(t string) bool { return strings.HasPrefix(t, prefix) }) {
		img.Digests = slices.DeleteFunc(img.Digests, func(d string) bool { return strings.HasPrefix(d, ref.Name()+"@") })
	}
	return true
}

// PruneOptions say what Prune may remove.
type PruneOptions struct {
	// UnusedFor spares images used or imported within this time.
	UnusedFor time.Duration
	// Bytes to free; 0 frees all that may be freed. Least recently used first.
	Bytes int64
	// Untagged removes only images without a tag.
	Untagged bool
}

// Prune removes images that no lease holds, least recently used first, and
// layers that no image needs. Pinned images stay.
func (s *Store) Prune(ctx context.Context, opts PruneOptions) (removed []Image, freed int64, err error) {
	s.mu.Lock()
	gone := s.detachUnreferenced()
	freed = bytesOf(gone)
	for _, img := range s.pruneOrder(opts) {
		if opts.Bytes > 0 && freed >= opts.Bytes || ctx.Err() != nil {
			break
		}
		delete(s.images, img.ID)
		removed = append(removed, img.clone())
		more := s.detachUnreferenced()
		freed += bytesOf(more)
		gone = append(gone, more...)
	}
	if len(removed) > 0 {
		err = s.saveImages()
	}
	s.mu.Unlock()
	s.destroy(gone)
	return removed, freed, err
}

func (s *Store) pruneOrder(opts PruneOptions) []*Image {
	var out []*Image
	newest := s.now().Add(-opts.UnusedFor)
	for _, img := range s.images {
		if img.Pinned || opts.Untagged && len(img.Tags) > 0 || img.used().After(newest) || len(s.leaseKeys(img.ID)) > 0 {
			continue
		}
		out = append(out, img)
	}
	slices.SortFunc(out, func(a, b *Image) int {
		if c := a.used().Compare(b.used()); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

func (img *Image) used() time.Time {
	if img.LastUsed.After(img.Imported) {
		return img.LastUsed
	}
	return img.Imported
}

// garbage is what detachUnreferenced took out of sight and destroy removes.
type garbage struct {
	path  string
	bytes int64
}

// detachUnreferenced takes layers and blobs that no image needs and no import
// relies on out of the store; s.mu is held. The slow part is left to destroy.
func (s *Store) detachUnreferenced() []garbage {
	keepLayers, keepBlobs := map[digest.Digest]bool{}, map[string]bool{}
	for _, img := range s.images {
		for _, d := range img.DiffIDs {
			keepLayers[digest.Digest(d)] = true
		}
		for _, d := range []string{img.ID, img.Manifest} {
			keepBlobs[strings.TrimPrefix(d, "sha256:")] = true
		}
	}
	var out []garbage
	for d, l := range s.layers {
		if s.keepAll || keepLayers[d] || l.holds > 0 {
			continue
		}
		if g, ok := s.detachLayer(l); ok {
			out = append(out, g)
		}
	}
	s.removeBlobsExcept(keepBlobs)
	return append(out, s.detachMerged()...)
}

// trash renames a directory away, into a new one that is to be removed.
func (s *Store) trash(dir string) (string, error) {
	trash, err := os.MkdirTemp(filepath.Join(s.opts.Dir, tmpDir), "gone")
	if err != nil {
		return "", err
	}
	if err := os.Rename(dir, filepath.Join(trash, "d")); err != nil {
		os.Remove(trash)
		return "", err
	}
	return trash, nil
}

// detachLayer renames a layer away, so that it is gone at once and for good.
func (s *Store) detachLayer(l *layer) (garbage, bool) {
	trash, err := s.trash(s.layerDir(l.n))
	if err != nil {
		s.log.Warn("removing layer", "layer", l.DiffID, "err", err)
		return garbage{}, false
	}
	delete(s.layers, l.DiffID)
	for _, b := range l.Blobs {
		if s.byBlob[b] == l {
			delete(s.byBlob, b)
		}
	}
	return garbage{path: trash, bytes: l.Bytes}, true
}

func (s *Store) removeBlobsExcept(keep map[string]bool) {
	dir := filepath.Join(s.opts.Dir, blobsDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.log.Warn("reading blobs", "err", err)
	}
	for _, e := range entries {
		if !keep[e.Name()] {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func (s *Store) destroy(gone []garbage) {
	for _, g := range gone {
		if err := os.RemoveAll(g.path); err != nil {
			s.log.Warn("removing files", "dir", g.path, "err", err)
		}
	}
}

// sweepUnreferenced runs at Open, before anyone else is there. What a pull that
// failed has brought stays for a while: it will be tried again.
func (s *Store) sweepUnreferenced() {
	var young []*layer
	for _, l := range s.layers {
		info, err := os.Stat(filepath.Join(s.layerDir(l.n), layerFile))
		if err == nil && s.now().Sub(info.ModTime()) < partialAge {
			l.holds++
			young = append(young, l)
		}
	}
	gone := s.detachUnreferenced()
	for _, l := range young {
		l.holds--
	}
	s.destroy(gone)
}

func bytesOf(gone []garbage) (n int64) {
	for _, g := range gone {
		n += g.bytes
	}
	return n
}

// FsInfo tells what the store uses. It reads no directory.
func (s *Store) FsInfo() FsInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := FsInfo{Dir: s.opts.Dir}
	for _, l := range s.layers {
		info.UsedBytes += l.Bytes
		info.Inodes += l.Inodes + 3
	}
	for range s.images {
		info.UsedBytes += 2 * 4096
		info.Inodes += 2
	}
	return info
}
