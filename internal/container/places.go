package container

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// placesDir is the lowest layer of every container's root: the places that
// skiff mounts something on in each of them, for images that do not have them.
// Without it they are made in each writable layer anew, which costs more than
// the mounts do. What an image has in a place hides this layer's.
func (s *Service) placesDir() string { return filepath.Join(s.deps.Dir, "places") }

func (s *Service) installPlaces() error {
	root := s.placesDir()
	for _, dir := range []string{"dev", "etc", "proc", "sys"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return fmt.Errorf("making the containers' lowest layer: %w", err)
		}
	}
	for _, file := range []string{"hostname", "hosts", "resolv.conf"} {
		f, err := os.OpenFile(filepath.Join(root, "etc", file), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return fmt.Errorf("making the containers' lowest layer: %w", err)
		}
	}
	return nil
}

// lowerOf returns the read-only layers of a container. Layers that are seen
// through a mapping of users must lie in one file system, which the image
// store's do and this one need not.
func (s *Service) lowerOf(rec *containerRecord, owner *sandboxRecord) []string {
	if usersOf(owner.Config) != nil {
		return rec.Lower
	}
	return append(slices.Clip(rec.Lower), s.placesDir())
}
