package container

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/image"
)

// makeVolumes makes a directory on the node for each volume that the image
// declares, filled with what the image has there. The path is looked up inside
// the image: reading through ".." and links is how volumes have leaked the
// node's files (CVE-2022-23648).
func (s *Service) makeVolumes(ctx context.Context, owner *sandboxRecord, rec *containerRecord, img image.Image) error {
	if len(img.Config.Volumes) == 0 {
		return nil
	}
	root, err := openImage(rec.Lower)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	var names []string
	for name := range img.Config.Volumes {
		names = append(names, filepath.Join("/", name))
	}
	slices.Sort(names)
	for i, destination := range slices.Compact(names) {
		if destination == "/" {
			return invalid("image declares its root as a volume")
		}
		host := filepath.Join(s.containerDir(rec.ID), "volumes", strconv.Itoa(i))
		if err := copyVolume(ctx, root, destination, host, ownIDs(owner.Config).Owner()); err != nil {
			return fmt.Errorf("making volume %q of the image: %w", destination, err)
		}
		rec.Volumes = append(rec.Volumes, imageVolume{Host: host, Destination: destination})
	}
	return nil
}
