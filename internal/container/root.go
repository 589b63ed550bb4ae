package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/supervisor"
)

// makeRoot makes what the container writes to: a layer over the image's, or a
// copy of the image where overlayfs does not work.
func (s *Service) makeRoot(ctx context.Context, owner *sandboxRecord, rec *containerRecord, layers image.Layers) error {
	if !layers.Copy {
		for _, dir := range []string{s.upperDir(rec.ID), s.workDir(rec.ID)} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("making the writable layer: %w", err)
			}
		}
		return nil
	}
	root := s.copyDir(rec.ID)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("making the container's root: %w", err)
	}
	if err := s.deps.Images.CopyRoot(ctx, layers, root, ownIDs(owner.Config)); err != nil {
		return err
	}
	// The root is the last that changes.
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return &os.PathError{Op: "stat", Path: root, Err: err}
	}
	rec.Copied = time.Unix(st.Ctim.Unix())
	return nil
}

// upperDir is a container's writable layer, workDir overlayfs's own, copyDir
// its copy of the image.
func (s *Service) upperDir(id string) string { return filepath.Join(s.containerDir(id), "upper") }
func (s *Service) workDir(id string) string  { return filepath.Join(s.containerDir(id), "work") }
func (s *Service) copyDir(id string) string  { return filepath.Join(s.containerDir(id), rootName) }

// rootName is the root's place in the bundle, as specifications name it.
const rootName = "rootfs"

// overlay is what the supervisor mounts; nil where the root is in the bundle.
func (s *Service) overlay(rec *containerRecord, owner *sandboxRecord, readOnly bool) *supervisor.Overlay {
	if !rec.Copied.IsZero() {
		return nil
	}
	return &supervisor.Overlay{Lower: s.lowerOf(rec, owner), Upper: s.upperDir(rec.ID), Work: s.workDir(rec.ID), ReadOnly: readOnly}
}

// writable is where a container's writes are, and since when: older files of a
// copy are the image's.
func (s *Service) writable(rec *containerRecord) (string, time.Time) {
	if rec.Copied.IsZero() {
		return s.upperDir(rec.ID), time.Time{}
	}
	return s.copyDir(rec.ID), rec.Copied
}

// snapshot tells how the root is made, for a person.
func (s *Service) snapshot(rec *containerRecord) map[string]any {
	if !rec.Copied.IsZero() {
		return map[string]any{"snapshotter": "native", "copy": s.copyDir(rec.ID), "of": rec.Lower}
	}
	lower := rec.Lower
	if b, err := s.findSandbox(rec.SandboxID); err == nil {
		lower = s.lowerOf(rec, b.rec.Load())
	}
	return map[string]any{"snapshotter": "overlayfs", "lower": lower, "upper": s.upperDir(rec.ID), "work": s.workDir(rec.ID)}
}
