package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"skiff.dev/skiff/internal/image/registry"
	"skiff.dev/skiff/internal/kernel/rootfd"
)

const (
	// partialMin is the size from which on a blob's beginning is kept when its download breaks off.
	partialMin = 8 << 20
	// partialAge is how long what a pull that failed has fetched waits for the next one.
	partialAge = 24 * time.Hour
)

// partial is the beginning of a compressed layer on its way in, which a later
// pull goes on from, also one of a later process. Nothing is believed of it: the
// layer's digest decides, over all of its bytes.
type partial struct {
	f *os.File
	// from is how much there was at the start.
	from int64
	// broken says that it can take no more; the download goes on without it.
	broken bool
}

func (s *Store) partialPath(d digest.Digest) string {
	return filepath.Join(s.opts.Dir, partialDir, d.Encoded())
}

// openPartial returns nil where none is kept: for a small blob, when another
// pull is writing it, or when it cannot be written.
func (s *Store) openPartial(w layerWant) *partial {
	if w.blobSize < partialMin {
		return nil
	}
	f, err := os.OpenFile(s.partialPath(w.blob), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		s.log.Warn("keeping the beginning of a layer", "err", err)
		return nil
	}
	p := &partial{f: f}
	err = rootfd.Lock(f)
	var info os.FileInfo
	if err == nil {
		info, err = f.Stat() // another pull may have written until now
	}
	if err == nil && info.Size() > w.blobSize {
		err = f.Truncate(0)
	} else if err == nil {
		p.from = info.Size()
	}
	if err != nil {
		f.Close()
		return nil
	}
	return p
}

// Write appends what comes from the network. It never fails the download.
func (p *partial) Write(data []byte) (int, error) {
	if !p.broken {
		if _, err := p.f.Write(data); err != nil {
			p.broken = true
			_ = p.f.Truncate(0) // room is scarce, and what is there has a hole behind it
		}
	}
	return len(data), nil
}

// openBlob opens a compressed layer: what is there of it, then the rest.
func openBlob(ctx context.Context, client *registry.Repository, w layerWant, p *partial) (io.ReadCloser, error) {
	if p == nil {
		return client.Blob(ctx, w.blob, w.blobSize)
	}
	have := io.NewSectionReader(p.f, 0, p.from)
	if p.from == w.blobSize {
		return io.NopCloser(have), nil
	}
	rest, err := client.BlobFrom(ctx, w.blob, p.from, w.blobSize)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(have, io.TeeReader(rest, p)), rest}, nil
}

// fetchLayer downloads and unpacks a layer. What a broken connection leaves of
// it is kept; when the kept beginning proves wrong it is fetched once more whole.
func (s *Store) fetchLayer(ctx context.Context, st *stage, client *registry.Repository, w layerWant, ev *events) (*stagedLayer, error) {
	for {
		p := s.openPartial(w)
		sl, err := s.fetchOnce(ctx, st, client, w, p, ev)
		if p == nil {
			return sl, err
		}
		if err == nil || permanent(err) {
			if rmErr := os.Remove(s.partialPath(w.blob)); rmErr != nil {
				s.log.Warn("removing the beginning of a layer", "err", rmErr)
			}
		}
		p.f.Close()
		if p.from == 0 || !errors.Is(err, ErrDigest) && !errors.Is(err, ErrInvalidArchive) {
			return sl, err
		}
		s.log.Warn("what was kept of a layer is wrong; fetching all of it", "layer", w.blob, "err", err)
	}
}

func (s *Store) fetchOnce(ctx context.Context, st *stage, client *registry.Repository, w layerWant, p *partial, ev *events) (*stagedLayer, error) {
	body, err := openBlob(ctx, client, w, p)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return st.unpack(ctx, body, w, ev.progress("downloading", string(w.blob), w.blobSize))
}

// sweepPartials removes beginnings of layers that nobody is fetching and that are older than age.
func (s *Store) sweepPartials(age time.Duration) error {
	dir := filepath.Join(s.opts.Dir, partialDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweeping: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a pull came to its end
		}
		if err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
		info, err := f.Stat()
		if err == nil && s.now().Sub(info.ModTime()) > age && rootfd.Lock(f) == nil {
			err = os.Remove(path)
		}
		f.Close()
		if err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
	}
	return nil
}
