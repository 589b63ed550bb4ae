package image

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// inherit gives directories that a layer's tar only implies (it has
// "tmp/file" but no "tmp/") the owner and permissions that they have in the
// layers below, as if the layer had been unpacked over these: else /tmp would
// lose its sticky bit under such a layer. Layers are unpacked on their own, so
// this waits until an image says what is below. s.mu is held; a layer that
// another image uses already is left as it is.
func (s *Store) inherit(diffIDs []digest.Digest) error {
	for k, d := range diffIDs {
		l := s.layers[d]
		if l == nil || k == 0 || len(l.Implicit) == 0 || s.layerUsed(d) {
			continue
		}
		if err := s.inheritLayer(l, diffIDs[:k]); err != nil {
			return fmt.Errorf("layer %s: taking over directories: %w", d, err)
		}
	}
	return nil
}

func (s *Store) layerUsed(d digest.Digest) bool {
	for _, img := range s.images {
		if slices.Contains(img.DiffIDs, string(d)) {
			return true
		}
	}
	return false
}

func (s *Store) inheritLayer(l *layer, below []digest.Digest) error {
	var lower []*rootfd.Root
	defer func() {
		for _, r := range lower {
			r.Close()
		}
	}()
	for _, d := range slices.Backward(below) {
		if b := s.layers[d]; b != nil {
			r, err := rootfd.Open(filepath.Join(s.layerDir(b.n), "fs"))
			if err != nil {
				return err
			}
			lower = append(lower, r)
		}
	}
	own, err := rootfd.Open(filepath.Join(s.layerDir(l.n), "fs"))
	if err != nil {
		return err
	}
	defer own.Close()
	for _, name := range l.Implicit {
		if err := inheritDir(own, lower, name); err != nil {
			return err
		}
	}
	return nil
}

// inheritDir copies the attributes from the first layer that has the directory.
func inheritDir(own *rootfd.Root, lower []*rootfd.Root, name string) error {
	for _, r := range lower {
		parent, err := r.OpenDir(path.Dir(name))
		if err != nil {
			continue
		}
		st, err := parent.Stat(path.Base(name))
		if err != nil {
			continue
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		at, err := own.OpenDir(path.Dir(name))
		if err != nil {
			return err
		}
		if err := at.Chown(path.Base(name), int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		return at.Chmod(path.Base(name), st.Mode&0o7777)
	}
	return nil
}
