package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"go.skiff.dev/skiff/internal/image/unpack"
)

// verifySuspects verifies the image's layers that were on disk when a boot
// ended uncleanly, once. An image with a broken layer is dropped whole, so
// that it is absent and can be had again.
func (s *Store) verifySuspects(ctx context.Context, img Image) error {
	for _, d := range img.DiffIDs {
		if err := s.verifySuspect(ctx, digest.Digest(d)); err != nil {
			if errors.Is(err, ErrCorrupt) {
				s.dropCorrupt(digest.Digest(d))
			}
			return err
		}
	}
	return nil
}

func (s *Store) verifySuspect(ctx context.Context, d digest.Digest) error {
	s.mu.Lock()
	l := s.layers[d]
	suspect := l != nil && l.suspect
	s.mu.Unlock()
	if !suspect {
		return nil
	}
	s.log.Info("verifying layer after an unclean end", "layer", d)
	if err := s.verifyLayer(ctx, l); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.suspect = false
	return s.saveBoot(false)
}

// verifyLayer makes the layer's tar again and compares its digest.
func (s *Store) verifyLayer(ctx context.Context, l *layer) error {
	h := sha256.New()
	if err := s.replay(ctx, l, h); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: layer %s: %w; it is removed, pull or import the image again", ErrCorrupt, l.DiffID, err)
	}
	if got := digest.NewDigest(digest.SHA256, h); got != l.DiffID {
		return fmt.Errorf("%w: layer %s: its files give digest %s; it is removed, pull or import the image again", ErrCorrupt, l.DiffID, got)
	}
	return nil
}

// replay writes the layer as plain tar, byte by byte as it came.
func (s *Store) replay(ctx context.Context, l *layer, w io.Writer) error {
	dir := s.layerDir(l.n)
	f, err := os.Open(filepath.Join(dir, frameFile))
	if err != nil {
		return err
	}
	defer f.Close()
	zr, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		return err
	}
	defer zr.Close()
	return unpack.Replay(ctx, zr, dir, l.Moved, w)
}

// dropCorrupt removes the images that need a layer, and the layer.
func (s *Store) dropCorrupt(d digest.Digest) {
	s.mu.Lock()
	for id, img := range s.images {
		if slices.Contains(img.DiffIDs, string(d)) {
			s.log.Error("dropping corrupt image", "image", id, "names", img.Tags)
			delete(s.images, id)
		}
	}
	if err := s.saveImages(); err != nil {
		s.log.Warn("writing image list", "err", err)
	}
	gone := s.detachUnreferenced()
	s.mu.Unlock()
	s.destroy(gone)
}
