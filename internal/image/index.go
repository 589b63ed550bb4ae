package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// imagesDoc is images.json.
type imagesDoc struct {
	Version int      `json:"version"`
	Images  []*Image `json:"images"`
}

// bootDoc is boot.json: whether what is on disk went through a clean end.
type bootDoc struct {
	BootID string `json:"bootID"`
	Clean  bool   `json:"clean"`
	// Suspect are layers that were there at an unclean end of a boot.
	Suspect []digest.Digest `json:"suspect,omitempty"`
}

func (s *Store) loadImages() error {
	data, err := os.ReadFile(filepath.Join(s.opts.Dir, imagesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading image list: %w", err)
	}
	var doc imagesDoc
	if err := json.Unmarshal(data, &doc); err != nil {
		// The file is replaced atomically, so this is damage from outside. The
		// list can be had again by importing and pulling; skiff must start.
		s.log.Error("image list is damaged; starting with an empty one", "file", imagesFile, "err", err)
		s.keepAll = true
		return os.Rename(filepath.Join(s.opts.Dir, imagesFile), filepath.Join(s.opts.Dir, imagesFile+".damaged"))
	}
	for _, img := range doc.Images {
		if missing := s.missingParts(img); missing != "" {
			s.log.Error("dropping image with a missing part; import or pull it again", "image", img.ID, "names", img.Tags, "missing", missing)
			s.keepAll = true
			continue
		}
		s.images[img.ID] = img
	}
	return nil
}

// missingParts names a layer or blob that an image needs and the store lacks.
func (s *Store) missingParts(img *Image) string {
	for _, d := range img.DiffIDs {
		if s.layers[digest.Digest(d)] == nil {
			return "layer " + d
		}
	}
	for _, d := range []string{img.ID, img.Manifest} {
		p, err := s.blobPath(digest.Digest(d))
		if err == nil {
			_, err = os.Lstat(p)
		}
		if err != nil {
			return "blob " + d
		}
	}
	return ""
}

// saveImages writes images.json. s.mu is held.
func (s *Store) saveImages() error {
	doc := imagesDoc{Version: 1, Images: s.sorted()}
	return s.writeJSON(imagesFile, doc)
}

func (s *Store) sorted() []*Image {
	out := make([]*Image, 0, len(s.images))
	for _, img := range s.images {
		out = append(out, img)
	}
	slices.SortFunc(out, func(a, b *Image) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// loadBoot finds out whether layers must be verified before use, and which
// leases of this boot are still there.
func (s *Store) loadBoot() error {
	var doc bootDoc
	data, err := os.ReadFile(filepath.Join(s.opts.Dir, bootFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		doc.Clean = len(s.layers) == 0
	case err != nil:
		return fmt.Errorf("reading boot record: %w", err)
	case json.Unmarshal(data, &doc) != nil:
		doc = bootDoc{}
	}
	for _, d := range doc.Suspect {
		if l := s.layers[d]; l != nil {
			l.suspect = true
		}
	}
	if doc.BootID == s.bootID {
		// The kernel that wrote the files still holds them, clean end or not.
		s.loadLeases()
		return s.saveBoot(false)
	}
	if !doc.Clean {
		for _, l := range s.layers {
			l.suspect = true
		}
	}
	s.clearLeases()
	if err := s.forgetMerged(); err != nil {
		return err
	}
	return s.saveBoot(false)
}

func (s *Store) saveBoot(clean bool) error {
	doc := bootDoc{BootID: s.bootID, Clean: clean}
	for d, l := range s.layers {
		if l.suspect {
			doc.Suspect = append(doc.Suspect, d)
		}
	}
	slices.Sort(doc.Suspect)
	return s.writeJSON(bootFile, doc)
}

// writeJSON replaces a file of the store: write, fsync, rename, fsync of the
// directory.
func (s *Store) writeJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", name, err)
	}
	return s.replaceFile(filepath.Join(s.opts.Dir, name), data)
}

func (s *Store) replaceFile(path string, data []byte) error {
	err := func() error {
		f, err := os.CreateTemp(filepath.Join(s.opts.Dir, tmpDir), "file")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		if _, err := f.Write(data); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := os.Rename(f.Name(), path); err != nil {
			return err
		}
		return syncDir(filepath.Dir(path))
	}()
	if err != nil {
		return s.wrapDisk(fmt.Errorf("writing %s: %w", filepath.Base(path), err))
	}
	return nil
}

// blobPath is where a manifest or configuration lies. The digest is checked
// before it becomes part of a path.
func (s *Store) blobPath(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("%w: %q is no sha256 digest", ErrInvalidArchive, string(d))
	}
	return filepath.Join(s.opts.Dir, blobsDir, d.Encoded()), nil
}

// readBlob returns a blob, verified.
func (s *Store) readBlob(d digest.Digest) ([]byte, error) {
	path, err := s.blobPath(d)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading blob: %w", err)
	}
	if digest.FromBytes(data) != d {
		return nil, fmt.Errorf("%w: blob %s", ErrCorrupt, d)
	}
	return data, nil
}

func (s *Store) writeBlob(data []byte) (digest.Digest, error) {
	d := digest.FromBytes(data)
	path, err := s.blobPath(d)
	if err != nil {
		return "", err
	}
	if have, err := os.ReadFile(path); err == nil && digest.FromBytes(have) == d {
		return d, nil
	}
	return d, s.replaceFile(path, data)
}
