package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
)

// leaseDoc is one file in leases. It is not synced: it has to outlive the
// process, which the page cache does, and not the boot, as no container does.
type leaseDoc struct {
	Key     string `json:"key"`
	ImageID string `json:"imageID"`
}

// Prepare leases the image to key (a container's or sandbox's id) and returns
// its layers, verifying them first when the last boot ended uncleanly. Calling
// it again with the same key replaces the lease. release ends the lease; it
// may be called more than once.
func (s *Store) Prepare(ctx context.Context, imageID, key string) (Layers, func(), error) {
	img, err := s.lease(imageID, key)
	if err != nil {
		return Layers{}, nil, fmt.Errorf("preparing image %q: %w", imageID, err)
	}
	release := sync.OnceFunc(func() { s.Release(key) })
	if err := s.verifySuspects(ctx, img); err != nil {
		release()
		return Layers{}, nil, fmt.Errorf("preparing image %q: %w", imageID, err)
	}
	out, err := s.lowerOf(img)
	if err == nil && out.Copy {
		out.Dir = filepath.Join(s.opts.Dir, mergedDir)
		var one string
		one, err = s.merge(ctx, img, out.Lower)
		out.Lower = []string{one}
	}
	if err != nil {
		release()
		return Layers{}, nil, fmt.Errorf("preparing image %q: %w", imageID, err)
	}
	return out, release, nil
}

// lowerOf finds the image's layers as they lie in the store.
func (s *Store) lowerOf(img Image) (Layers, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Layers{Dir: filepath.Join(s.opts.Dir, layersDir), Copy: s.opts.Copy}
	for _, d := range slices.Backward(img.DiffIDs) {
		l := s.layers[digest.Digest(d)]
		if l == nil {
			return Layers{}, fmt.Errorf("%w: layer %s is gone", ErrCorrupt, d)
		}
		out.Lower = append(out.Lower, filepath.Join(s.layerDir(l.n), "fs"))
		out.Copy = out.Copy || l.Portable
		if l.OpaqueRoot {
			break
		}
	}
	if len(out.Lower) == 0 {
		// An image without layers; overlay wants one.
		out.Lower = []string{filepath.Join(s.opts.Dir, emptyDir)}
		out.Dir = s.opts.Dir
	}
	return out, nil
}

func (s *Store) lease(imageID, key string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	img, err := s.resolveLocked(imageID)
	if err != nil {
		return Image{}, err
	}
	data, err := json.Marshal(leaseDoc{Key: key, ImageID: img.ID})
	if err != nil {
		return Image{}, err
	}
	if s.leases[key] != img.ID {
		if err := os.WriteFile(s.leasePath(key), data, 0o600); err != nil {
			return Image{}, s.wrapDisk(fmt.Errorf("writing lease: %w", err))
		}
	}
	s.leases[key] = img.ID
	s.touch(img)
	return img.clone(), nil
}

// leasePath hides whatever the key contains from the file system.
func (s *Store) leasePath(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.opts.Dir, leasesDir, hex.EncodeToString(sum[:16]))
}

// Release ends the lease of key, if there is one.
func (s *Store) Release(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(key)
}

func (s *Store) releaseLocked(key string) {
	id, ok := s.leases[key]
	if !ok {
		return
	}
	delete(s.leases, key)
	if img := s.images[id]; img != nil {
		s.touch(img)
	}
	s.stir()
	if err := os.Remove(s.leasePath(key)); err != nil {
		s.log.Warn("removing lease", "key", key, "err", err)
	}
}

// RetainLeases ends every lease whose key is not in keys: the container layer
// calls it once after its recovery. Leases outlive the process, not the boot.
func (s *Store) RetainLeases(keys []string) {
	keep := make(map[string]bool, len(keys))
	for _, k := range keys {
		keep[k] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.leases {
		if !keep[k] {
			s.releaseLocked(k)
		}
	}
}

// leaseKeys returns who holds the image, sorted. s.mu is held.
func (s *Store) leaseKeys(id string) []string {
	var keys []string
	for k, img := range s.leases {
		if img == id {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// eachLease reads the leases on disk; f says which file may stay.
func (s *Store) eachLease(f func(leaseDoc) bool) {
	dir := filepath.Join(s.opts.Dir, leasesDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.log.Warn("reading leases", "err", err)
	}
	for _, e := range entries {
		var doc leaseDoc
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil {
			err = json.Unmarshal(data, &doc)
		}
		if err != nil || s.images[doc.ImageID] == nil || !f(doc) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func (s *Store) loadLeases() {
	s.eachLease(func(doc leaseDoc) bool {
		s.leases[doc.Key] = doc.ImageID
		return true
	})
}

// clearLeases ends the leases of an earlier boot. Their images were in use
// until it ended, so they are the last that may be collected.
func (s *Store) clearLeases() {
	s.eachLease(func(doc leaseDoc) bool {
		s.touch(s.images[doc.ImageID])
		return false
	})
}
