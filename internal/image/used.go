package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// usedDir holds an empty file per image that was ever used. Its modification
// time is the last use: that costs a container's start and end one utimensat,
// where rewriting and syncing the list of images would wait for the disk. What
// a power cut takes of it is the order of the last half minute.
const usedDir = "used"

// touch notes that an image is used now. s.mu is held.
func (s *Store) touch(img *Image) {
	img.LastUsed = s.now()
	path := filepath.Join(s.opts.Dir, usedDir, strings.TrimPrefix(img.ID, "sha256:"))
	err := os.Chtimes(path, img.LastUsed, img.LastUsed)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.WriteFile(path, nil, 0o600); err == nil {
			err = os.Chtimes(path, img.LastUsed, img.LastUsed)
		}
	}
	if err != nil {
		s.log.Warn("noting the use of an image", "image", img.ID, "err", err)
	}
}

// loadUsed reads when images were last used, and forgets those that are gone.
func (s *Store) loadUsed() {
	dir := filepath.Join(s.opts.Dir, usedDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.log.Warn("reading the last uses of images", "err", err)
	}
	for _, e := range entries {
		img := s.images["sha256:"+e.Name()]
		info, err := e.Info()
		switch {
		case img == nil && !s.keepAll:
			os.Remove(filepath.Join(dir, e.Name()))
		case img != nil && err == nil && info.ModTime().After(img.LastUsed):
			img.LastUsed = info.ModTime()
		}
	}
}
