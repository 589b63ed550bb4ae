package daemon

import (
	"os"

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/kernel/mount"
)

// snapshotter is how containers get their roots, and why not as overlays.
type snapshotter struct{ name, reason string }

func (s snapshotter) native() bool { return s.name == config.SnapshotterNative }

// chooseSnapshotter tries overlayfs where the images and the containers' files
// lie: no list of file systems knows what this kernel can do with this one.
func (d *daemon) chooseSnapshotter() (snapshotter, error) {
	for _, dir := range []string{d.cfg.ImageDir(), d.cfg.ContainerDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return snapshotter{}, err
		}
	}
	if d.cfg.Snapshotter == config.SnapshotterNative {
		return snapshotter{config.SnapshotterNative, "configured"}, nil
	}
	err := mount.ProbeOverlay(d.cfg.ImageDir(), d.cfg.ContainerDir())
	switch {
	case err == nil:
		return snapshotter{name: config.SnapshotterOverlay}, nil
	case d.cfg.Snapshotter == config.SnapshotterOverlay:
		return snapshotter{}, err
	}
	d.log.Warn("overlayfs does not work in the data directory: each container gets a copy of its image, which takes time and room", "error", err)
	d.report(Progress{Warning: "overlayfs does not work in " + d.cfg.DataDir + ": each container gets a copy of its image, which takes time and room; see `skiff status`"})
	return snapshotter{config.SnapshotterNative, err.Error()}, nil
}
