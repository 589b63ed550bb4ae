package daemon

import (
	"context"
	"net/http"

	"skiff.dev/skiff/internal/helloimage"
	"skiff.dev/skiff/internal/image/imageapi"
)

// runImages brings in the image that skiff carries.
func (d *daemon) runImages(ctx context.Context, ready func()) error {
	if _, err := helloimage.Ensure(ctx, d.organs.images); err != nil {
		// A cluster without the example is still a cluster.
		d.log.Warn("importing the carried image did not work", "error", err)
	}
	ready()
	<-ctx.Done()
	return nil
}

// imageHandler serves `skiff image`.
func (d *daemon) imageHandler() http.Handler { return imageapi.New(d.organs.images) }
