package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"go.skiff.dev/skiff/internal/image/unpack"
)

// stage is a private directory of one import or pull. What is in it becomes
// part of the store by adopt, or vanishes with close.
type stage struct {
	s   *Store
	dir string

	mu    sync.Mutex
	next  int
	holds []string
}

func (s *Store) newStage() (*stage, error) {
	dir, err := os.MkdirTemp(filepath.Join(s.opts.Dir, tmpDir), "")
	if err != nil {
		return nil, s.wrapDisk(fmt.Errorf("creating staging directory: %w", err))
	}
	return &stage{s: s, dir: dir}, nil
}

// close removes what was not adopted and lets go of the held layers.
func (st *stage) close() {
	st.s.unhold(st.holds)
	if err := os.RemoveAll(st.dir); err != nil {
		st.s.log.Warn("removing staging directory", "dir", st.dir, "err", err)
	}
}

func (st *stage) newDir() (string, error) {
	st.mu.Lock()
	st.next++
	dir := filepath.Join(st.dir, "l"+strconv.Itoa(st.next))
	st.mu.Unlock()
	return dir, os.Mkdir(dir, 0o700)
}

// stagedLayer is an unpacked layer that is not in the store yet.
type stagedLayer struct {
	dir string
	rec layerRecord
	// blob is the digest and size of the stream as it came.
	blob     digest.Digest
	blobSize int64
}

// layerWant is what a layer must turn out to be; empty fields are not checked.
type layerWant struct {
	name     string
	blob     digest.Digest
	blobSize int64
	diffID   digest.Digest
	// spare, if set, frees room that the layer can be had without, and says
	// whether there was any.
	spare func() bool
}

// unpack reads a layer, plain or compressed, to its end into the stage and
// verifies it. On an error nothing of it stays.
func (st *stage) unpack(ctx context.Context, r io.Reader, want layerWant, report func(int64)) (_ *stagedLayer, err error) {
	dir, err := st.newDir()
	if err != nil {
		return nil, st.s.wrapDisk(fmt.Errorf("creating staging directory: %w", err))
	}
	src := &source{r: r, report: report}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
			err = fmt.Errorf("layer %s: %w", want.name, st.s.layerError(ctx, src, err))
		}
	}()
	p, err := newPlain(src, st.s.limits)
	if err != nil {
		return nil, err
	}
	defer p.close()
	l := &stagedLayer{dir: dir, rec: layerRecord{Version: 1}}
	if err := st.unpackTo(ctx, p.diff, dir, &l.rec, want.spare); err != nil {
		return nil, err
	}
	if err := p.drain(); err != nil {
		return nil, err
	}
	l.rec.DiffID, l.rec.TarBytes = p.diffID(), p.limited.n
	l.blob, l.blobSize = p.blobID(), src.n.Load()
	if report != nil {
		report(l.blobSize)
	}
	return l, l.check(want)
}

func (l *stagedLayer) check(want layerWant) error {
	if want.blobSize > 0 && l.blobSize != want.blobSize {
		return fmt.Errorf("%w: it has %d bytes, its descriptor says %d", ErrDigest, l.blobSize, want.blobSize)
	}
	if want.blob != "" && l.blob != want.blob {
		return fmt.Errorf("%w: its content has digest %s", ErrDigest, l.blob)
	}
	if want.diffID != "" && l.rec.DiffID != want.diffID {
		return fmt.Errorf("%w: its uncompressed content has digest %s, the image's configuration says %s", ErrDigest, l.rec.DiffID, want.diffID)
	}
	return nil
}

// unpackTo unpacks the plain tar and writes the frame beside it.
func (st *stage) unpackTo(ctx context.Context, r io.Reader, dir string, rec *layerRecord, spare func() bool) error {
	f, err := os.OpenFile(filepath.Join(dir, frameFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	zw, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return err
	}
	defer zw.Close()
	lim := st.s.limits
	room := &roomCheck{dir: dir, reserve: lim.ReserveBytes, spare: spare}
	res, err := unpack.Layer(ctx, r, dir, unpack.Options{
		MaxEntries: lim.LayerEntries, MaxSparse: lim.LayerBytes, MaxPath: lim.PathBytes, MaxName: lim.NameBytes, MaxXattrs: lim.XattrBytes,
		AllowDevices: st.s.opts.AllowDevices, Portable: st.s.opts.Copy, Room: room.ask, Frame: zw,
	})
	if err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	rec.Result = res
	return f.Close()
}

// layerError says what was at fault: the caller, the source, the disk or the layer.
func (s *Store) layerError(ctx context.Context, src *source, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case src.err != nil:
		return src.err
	case errors.Is(err, ErrDigest), errors.Is(err, ErrLimit), errors.Is(err, ErrInvalidArchive), errors.Is(err, ErrNoSpace):
		return err
	case errors.Is(err, unpack.ErrLimit):
		return fmt.Errorf("%w: %w", ErrLimit, err)
	case errors.Is(err, unpack.ErrUnsafe), errors.Is(err, unpack.ErrTar), isMarked(err):
		return fmt.Errorf("%w: %w; the image is broken: build, save or push it again", ErrInvalidArchive, err)
	}
	return s.wrapDisk(err)
}

// wrapDisk marks a full disk, with what can be done.
func (s *Store) wrapDisk(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w; free space in %s, for example with `skiff image rm`", ErrNoSpace, err, s.opts.Dir)
	}
	return err
}
