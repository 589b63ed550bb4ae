package daemon

import (
	"context"
	"path/filepath"

	"go.skiff.dev/skiff/internal/image/archives"
)

// room tells that images were collected.
type room chan struct{}

func (r room) tell() {
	select {
	case r <- struct{}{}:
	default:
	}
}

// runArchives imports what lies in the directory of archives, and what is
// dropped there later. The node does not wait for it, a pod whose image is not
// there does: no registry is asked for an image that is about to come in.
func (d *daemon) runArchives(ctx context.Context, ready func()) error {
	return d.organs.archives.Run(ctx, ready)
}

func (d *daemon) makeArchives() {
	d.organs.archives = archives.New(archives.Options{
		Dir: d.cfg.ArchiveDir(), Record: filepath.Join(d.cfg.ImageDir(), "archives.json"),
		Store: d.organs.images, Retry: d.organs.room, Log: d.log,
	})
}
