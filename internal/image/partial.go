package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"go.skiff.dev/skiff/internal/image/registry"
	"go.skiff.dev/skiff/internal/kernel/rootfd"
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
	// mu guards all below: who unpacks asks for the room of what is coming in.
	mu sync.Mutex
	// past says that the beginning was read, broken that it can take no more; the
	// download goes on without it.
	past, broken bool
	// missing is what is still to come, unchecked what was written since the room was looked at.
	missing, unchecked int64
	reserve            int64
}

// partialStep is how much is written between two looks at the room.
const partialStep = 1 << 20

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
	p := &partial{f: f, reserve: s.limits.ReserveBytes, unchecked: partialStep}
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
	p.missing = w.blobSize - p.from
	return p
}

// Write appends what comes from the network. It never fails the download.
func (p *partial) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.past = true
	if p.broken {
		return len(data), nil
	}
	p.missing -= int64(len(data))
	if p.unchecked += int64(len(data)); p.unchecked >= partialStep && !p.roomy() {
		p.giveUpLocked()
		return len(data), nil
	}
	if _, err := p.f.Write(data); err != nil { // what is there has a hole behind it
		p.giveUpLocked()
	}
	return len(data), nil
}

// roomy says that there is room for what is to come twice, as it comes and
// unpacked, which is what most layers take at least.
func (p *partial) roomy() bool {
	p.unchecked = 0
	free, err := rootfd.FreeBytes(p.f.Name())
	return err == nil && free-p.reserve > 2*p.missing
}

// giveUp gives back the room that it takes, if it is not read any more, and says whether there was any. The layer
// itself needs it: unpacked it is larger, and it is what was asked for.
func (p *partial) giveUp() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.giveUpLocked()
}

func (p *partial) giveUpLocked() bool {
	if !p.past || p.broken {
		return false
	}
	p.broken = true
	return p.f.Truncate(0) == nil
}

// useless says that the error may be the kept beginning's doing: it is not the layer's, or takes the room.
func (p *partial) useless(err error) bool {
	return p.from > 0 && (errors.Is(err, ErrDigest) || errors.Is(err, ErrInvalidArchive) || errors.Is(err, ErrNoSpace) && !p.past)
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
	p := s.openPartial(w)
	if p == nil {
		return s.fetchOnce(ctx, st, client, w, nil, ev)
	}
	sl, err := s.fetchOnce(ctx, st, client, w, p, ev)
	if err == nil || permanent(err) {
		if rmErr := os.Remove(s.partialPath(w.blob)); rmErr != nil {
			s.log.Warn("removing the beginning of a layer", "err", rmErr)
		}
	}
	p.f.Close()
	if !p.useless(err) {
		return sl, err
	}
	s.log.Warn("what was kept of a layer is of no use; fetching all of it", "layer", w.blob, "err", err)
	// Nothing is kept of it this time: what could not be removed would be found again.
	return s.fetchOnce(ctx, st, client, w, nil, ev)
}

func (s *Store) fetchOnce(ctx context.Context, st *stage, client *registry.Repository, w layerWant, p *partial, ev *events) (*stagedLayer, error) {
	body, err := openBlob(ctx, client, w, p)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	w.spare = p.giveUp
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
