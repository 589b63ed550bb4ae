package image

import (
	"context"
	"crypto/rand"
	"errors"
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
	before := s.snapshotImages()
	if s.untag(img, refOrID) {
		defer s.mu.Unlock()
		if err := s.saveImages(); err != nil {
			s.images = before
			return err
		}
		return nil
	}
	if keys := s.leaseKeys(img.ID); len(keys) > 0 {
		s.mu.Unlock()
		return &InUseError{Ref: refOrID, Keys: keys}
	}
	delete(s.images, img.ID)
	gone, err := s.letGo(before)
	s.mu.Unlock()
	s.destroy(gone)
	return err
}

// letGo writes the list without the images that were taken out of it, and then takes what they alone had out of sight.
// A disk without room for the list is why images go: then their files go first. If it cannot be written all the same,
// everything is as before. s.mu is held.
func (s *Store) letGo(before map[string]*Image) ([]string, error) {
	err := s.saveImages()
	if errors.Is(err, ErrNoSpace) {
		s.destroy(s.detachUnreferenced())
		return nil, s.saveImages()
	}
	if err != nil {
		s.images = before
		return nil, err
	}
	return s.detachUnreferenced(), nil
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
		img.dropDigests(func(d string) bool { return d == full })
		return true
	}
	if !slices.Contains(img.Tags, ref.Tagged()) || len(img.Tags) < 2 {
		return false
	}
	img.Tags = slices.DeleteFunc(img.Tags, func(t string) bool { return t == ref.Tagged() })
	// Digests of a repository go with the last of its tags.
	prefix := ref.Name() + ":"
	if !slices.ContainsFunc(img.Tags, func(t string) bool { return strings.HasPrefix(t, prefix) }) {
		img.dropDigests(func(d string) bool { return strings.HasPrefix(d, ref.Name()+"@") })
	}
	return true
}

func (img *Image) dropDigests(drop func(string) bool) {
	img.Digests, img.ByDigest = slices.DeleteFunc(img.Digests, drop), slices.DeleteFunc(img.ByDigest, drop)
}

// PruneOptions say what Prune may remove.
type PruneOptions struct {
	// UnusedFor spares images used or imported within this time.
	UnusedFor time.Duration
	// Bytes to free; 0 frees all that may be freed. Least recently used first.
	Bytes int64
	// Nameless removes only images that have no tag (any more) and were not pulled by their digest.
	Nameless bool
}

// Prune removes images that no lease holds, least recently used first, and
// layers that no image needs. Pinned images stay.
func (s *Store) Prune(ctx context.Context, opts PruneOptions) (removed []Image, freed int64, err error) {
	s.mu.Lock()
	before := s.snapshotImages()
	freed = s.looseBytes()
	for _, img := range s.pruneOrder(opts) {
		if opts.Bytes > 0 && freed >= opts.Bytes || ctx.Err() != nil {
			break
		}
		delete(s.images, img.ID)
		removed = append(removed, img.clone())
		freed = s.looseBytes()
	}
	var gone []string
	if len(removed) > 0 {
		gone, err = s.letGo(before)
	} else {
		gone = s.detachUnreferenced()
	}
	s.mu.Unlock()
	s.destroy(gone)
	if err != nil {
		return nil, 0, err
	}
	return removed, freed, nil
}

// looseBytes is what layers take that no image needs and no import relies on. s.mu is held.
func (s *Store) looseBytes() (n int64) {
	keep := s.neededLayers()
	for d, l := range s.layers {
		if s.loose(d, l, keep) {
			n += l.Bytes
		}
	}
	return n
}

func (s *Store) neededLayers() map[digest.Digest]bool {
	keep := map[digest.Digest]bool{}
	for _, img := range s.images {
		for _, d := range img.DiffIDs {
			keep[digest.Digest(d)] = true
		}
	}
	return keep
}

func (s *Store) loose(d digest.Digest, l *layer, keep map[digest.Digest]bool) bool {
	return !s.keepAll && !keep[d] && l.holds == 0
}

func (s *Store) pruneOrder(opts PruneOptions) []*Image {
	var out []*Image
	newest := s.now().Add(-opts.UnusedFor)
	for _, img := range s.images {
		if img.Pinned || opts.Nameless && len(img.Tags)+len(img.ByDigest) > 0 || img.used().After(newest) || len(s.leaseKeys(img.ID)) > 0 {
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

// detachUnreferenced takes layers and blobs that no image needs and no import
// relies on out of the store; s.mu is held. The slow part, removing the directories that it returns, is left to destroy.
func (s *Store) detachUnreferenced() []string {
	keepLayers, keepBlobs := s.neededLayers(), map[string]bool{}
	for _, img := range s.images {
		for _, d := range []string{img.ID, img.Manifest} {
			keepBlobs[strings.TrimPrefix(d, "sha256:")] = true
		}
	}
	var out []string
	for d, l := range s.layers {
		if !s.loose(d, l, keepLayers) {
			continue
		}
		if g, ok := s.detachLayer(l); ok {
			out = append(out, g)
		}
	}
	s.removeBlobsExcept(keepBlobs)
	return append(out, s.detachMerged()...)
}

// trash renames a directory away, to be removed. That needs no room on the disk.
func (s *Store) trash(dir string) (string, error) {
	trash := filepath.Join(s.opts.Dir, tmpDir, "gone-"+rand.Text())
	return trash, os.Rename(dir, trash)
}

// detachLayer renames a layer away, so that it is gone at once and for good.
func (s *Store) detachLayer(l *layer) (string, bool) {
	trash, err := s.trash(s.layerDir(l.n))
	if err != nil {
		s.log.Warn("removing layer", "layer", l.DiffID, "err", err)
		return "", false
	}
	delete(s.layers, l.DiffID)
	for _, b := range l.Blobs {
		if s.byBlob[b] == l {
			delete(s.byBlob, b)
		}
	}
	return trash, true
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

func (s *Store) destroy(gone []string) {
	for _, dir := range gone {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("removing files", "dir", dir, "err", err)
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
