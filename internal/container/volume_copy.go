package container

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// copyVolume fills a fresh directory with what the image has at a path. It goes
// by descriptors and follows no link, so that the node's files stay out; devices
// and pipes are not for volumes. All belongs to those whom ids gives it, nil: to whom it belongs in the image.
func copyVolume(ctx context.Context, root int, inside, host string, ids func(uint32) int) error {
	if err := os.MkdirAll(host, 0o755); err != nil {
		return err
	}
	if ids != nil { // also where the image has nothing
		if err := os.Chown(host, ids(0), ids(0)); err != nil {
			return err
		}
	}
	fd, err := mount.Root{FD: root}.Open(inside, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	from := rootfd.At(fd)
	defer from.Close()
	to, err := rootfd.Open(host)
	if err != nil {
		return err
	}
	defer to.Close()
	return rootfd.Copy(ctx, from, to, rootfd.CopyOptions{Plain: true, Owner: ids})
}
