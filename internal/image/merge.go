package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.skiff.dev/skiff/internal/image/unpack"
	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// Where overlayfs does not work, an image's layers are merged into one tree of
// further names of their files, which costs directories only, and each
// container gets a copy of it. What is merged is forgotten with the boot: it is
// quickly made again, and nobody has to ask whether a power cut spared it.

// Snapshotter is containerd's name of how containers get their roots.
func (s *Store) Snapshotter() string {
	if s.opts.Copy {
		return "native"
	}
	return "overlayfs"
}

// mergedPath is where the layers of an image are merged.
func (s *Store) mergedPath(diffIDs []string) string {
	sum := sha256.Sum256([]byte(strings.Join(diffIDs, " ")))
	return filepath.Join(s.opts.Dir, mergedDir, hex.EncodeToString(sum[:16]))
}

// merge makes the tree of leased layers, top first, unless it is there.
func (s *Store) merge(ctx context.Context, img Image, lower []string) (string, error) {
	s.merging.Lock()
	defer s.merging.Unlock()
	path := s.mergedPath(img.DiffIDs)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	bottomFirst := slices.Clone(lower)
	slices.Reverse(bottomFirst)
	st, err := s.newStage()
	if err != nil {
		return "", err
	}
	defer st.close()
	dir, err := st.newDir()
	if err != nil {
		return "", s.wrapDisk(err)
	}
	room := &roomCheck{dir: dir, reserve: s.limits.ReserveBytes}
	if err := unpack.Merge(ctx, bottomFirst, dir, room.ask); err != nil {
		return "", s.wrapDisk(err)
	}
	if err := os.Rename(dir, path); err != nil {
		return "", s.wrapDisk(err)
	}
	return path, nil
}

// forgetMerged removes all merged trees: none is in use when it is called.
func (s *Store) forgetMerged() error {
	return errors.Join(os.RemoveAll(filepath.Join(s.opts.Dir, mergedDir)), os.Mkdir(filepath.Join(s.opts.Dir, mergedDir), 0o700))
}

// detachMerged takes the merged trees of images that are gone out of sight;
// s.mu is held.
func (s *Store) detachMerged() []string {
	keep := map[string]bool{}
	for _, img := range s.images {
		keep[s.mergedPath(img.DiffIDs)] = true
	}
	dir := filepath.Join(s.opts.Dir, mergedDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.log.Warn("reading merged images", "err", err)
	}
	var out []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if s.keepAll || keep[path] {
			continue
		}
		trash, err := s.trash(path)
		if err != nil {
			s.log.Warn("removing a merged image", "dir", path, "err", err)
			continue
		}
		out = append(out, trash)
	}
	return out
}

// IDRange maps ids from 0 on to Host and following, Length of them: the ids of
// a user namespace (user_namespaces(7)). The zero value maps each to itself.
type IDRange struct{ Host, Length uint32 }

// nobody is the node's, whom a user namespace does not have: its processes see
// the owner that the kernel shows for all whom they do not know.
const nobody = 65534

// Owner translates an owner of the image's; nil keeps all.
func (r IDRange) Owner() func(uint32) int {
	if r.Length == 0 {
		return nil
	}
	return func(id uint32) int {
		if id >= r.Length {
			return nobody
		}
		return int(r.Host + id)
	}
}

// CopyRoot fills dir, which must be there and empty, with the image of layers
// that have Copy set, as the root of one container.
func (s *Store) CopyRoot(ctx context.Context, layers Layers, dir string, ids IDRange) error {
	from, err := rootfd.Open(layers.Lower[0])
	if err != nil {
		return fmt.Errorf("copying the image: %w", err)
	}
	defer from.Close()
	to, err := rootfd.Open(dir)
	if err != nil {
		return fmt.Errorf("copying the image: %w", err)
	}
	defer to.Close()
	room := &roomCheck{dir: dir, reserve: s.limits.ReserveBytes}
	if err := rootfd.Copy(ctx, from, to, rootfd.CopyOptions{Owner: ids.Owner(), Room: room.ask}); err != nil {
		return s.wrapDisk(fmt.Errorf("copying the image: %w", err))
	}
	return nil
}
