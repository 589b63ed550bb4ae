package daemon

import (
	"context"
	"net/http"
	"time"

	"go.skiff.dev/skiff/internal/helloimage"
	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/image/imageapi"
	"go.skiff.dev/skiff/internal/image/registry"
)

// imageSpare is how long after its import or last use an image is not
// collected, upstream's imageMinimumGCAge: a pod that is about to be made, or
// made again, finds it.
const imageSpare = 2 * time.Minute

// runImages brings in the image that skiff carries, and collects images when
// the disk fills up.
func (d *daemon) runImages(ctx context.Context, ready func()) error {
	if _, err := helloimage.Ensure(ctx, d.organs.images); err != nil {
		// A cluster without the example is still a cluster.
		d.log.Warn("importing the carried image did not work", "error", err)
	}
	ready()
	limits := image.Thresholds{High: d.cfg.ImageGCHigh, Low: d.cfg.ImageGCLow, Spare: imageSpare}
	told := false
	d.organs.images.CollectUnderPressure(ctx, limits, func(c image.Collection, err error) {
		told = d.reportCollection(c, err, told)
	})
	return nil
}

// reportCollection says what was freed. told says that nothing has changed
// since it was said that nothing can be: the answer is that of the next call.
func (d *daemon) reportCollection(c image.Collection, err error, told bool) bool {
	var names []string
	for _, img := range c.Removed {
		names = append(names, append(img.Tags, img.ID)[0])
	}
	if c.Freed > 0 {
		d.log.Info("the disk is filling up, removed images that nobody uses", "images", names,
			"freedBytes", c.Freed, "usedPercentBefore", c.Before, "usedPercentAfter", c.After)
		d.organs.room.tell()
	}
	switch {
	case err != nil:
		d.log.Warn("collecting images", "error", err)
	case c.Short && !told:
		d.log.Warn("the disk is too full and no other image can go: what is left is used, pinned or came just now; see `skiff image ls`, or free space",
			"dir", d.cfg.ImageDir(), "usedPercent", c.After, "highThreshold", d.cfg.ImageGCHigh)
	}
	return c.Short
}

// imageHandler serves `skiff image`.
func (d *daemon) imageHandler() http.Handler { return imageapi.New(d.organs.images) }

// registries are the node's files with settings for registries.
func (d *daemon) registries() registry.Files {
	return registry.Files{
		Registries: d.cfg.Registries, Certs: d.cfg.CertsDir(), NoDefault: d.cfg.NoDefaultEndpoint,
		Auth: d.cfg.AuthFiles(), Logins: d.cfg.LoginFiles(),
		Providers: registry.NewProviders(d.cfg.ProvidersFile(), d.cfg.ProvidersDir()),
	}
}
