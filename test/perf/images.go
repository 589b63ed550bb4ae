package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.skiff.dev/skiff/test/testimage"
)

// importBytes is the size of the image that is imported; half of it cannot be
// compressed.
const importBytes = 200 << 20

// importImage writes an image as a docker-archive and returns how long its
// import took.
func (s *skiff) importImage(ctx context.Context, image testimage.Image) (time.Duration, error) {
	path := filepath.Join(s.dir, "image.tar")
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(image.WriteDockerArchive(f), f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	return s.importFile(ctx, path)
}

func (s *skiff) importFile(ctx context.Context, path string) (time.Duration, error) {
	began := time.Now()
	_, err := s.verb(ctx, "image", "import", path)
	return time.Since(began), err
}

// measureImport imports a large image that is new, and once more when it is known.
func measureImport(ctx context.Context) (_ []result, err error) {
	s, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.purge()) }()
	image, err := testimage.Busybox("perf/large:1")
	if err != nil {
		return nil, err
	}
	const files = 20
	var large testimage.Layer
	for i := range files {
		body := make([]byte, importBytes/files)
		if _, err := rand.Read(body[len(body)/2:]); err != nil {
			return nil, err
		}
		large = append(large, testimage.File(fmt.Sprintf("file%d", i), 0o644, body))
	}
	image.Layers = append(image.Layers, large)
	first, err := s.importImage(ctx, image)
	if err != nil {
		return nil, err
	}
	var again []time.Duration
	for range 10 {
		took, err := s.importFile(ctx, filepath.Join(s.dir, "image.tar"))
		if err != nil {
			return nil, err
		}
		again = append(again, took)
	}
	return []result{
		{"image import", importBytes / 1e6 / first.Seconds(), "MB/s", fmt.Sprintf("%d MiB by the command, new; bounded by the disk", importBytes>>20)},
		{"image import again", median(again), "ms", fmt.Sprintf("of the same archive, by the command; median of %d", len(again))},
	}, nil
}
