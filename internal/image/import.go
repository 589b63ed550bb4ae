package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Import reads a docker-archive, an OCI image layout or skopeo's dir form, as tar, plain or
// compressed with gzip or zstd, and returns the images in it. A reader that is
// also an io.ReaderAt and io.Seeker (a file) is read out of order, so that
// known layers cost nothing.
func (s *Store) Import(ctx context.Context, r io.Reader, opts ImportOptions) ([]Image, error) {
	imgs, err := s.importReader(ctx, r, opts)
	if err != nil {
		return nil, fmt.Errorf("importing image: %w", err)
	}
	return imgs, nil
}

func (s *Store) importReader(ctx context.Context, r io.Reader, opts ImportOptions) ([]Image, error) {
	st, err := s.newStage()
	if err != nil {
		return nil, err
	}
	defer st.close()
	ev := newEvents(opts.Progress)
	if f, ok := r.(seekable); ok {
		a, err := openTarFile(f, s.limits)
		if err != nil {
			return nil, archiveError(ctx, 0, err)
		}
		if a != nil {
			return s.importFrom(ctx, st, a, opts, ev)
		}
	}
	src := &source{r: r}
	br := bufio.NewReaderSize(src, 1<<20)
	head, _ := br.Peek(6) // what is wrong shows again in the next call
	plain, err := decompress(br)
	if err != nil {
		return nil, archiveError(ctx, 0, err)
	}
	defer plain.Close()
	var tar io.Reader = plain
	if compressed(head) {
		tar = brokenStream{plain}
	}
	a, err := readStream(ctx, st, tar, ev)
	if err != nil {
		return nil, err
	}
	return s.importFrom(ctx, st, a, opts, ev)
}

// importFrom picks the images out of an archive, brings their layers into the
// store, and commits them.
func (s *Store) importFrom(ctx context.Context, st *stage, a archive, opts ImportOptions, ev *events) ([]Image, error) {
	a, err := s.asLayout(a)
	if err != nil {
		return nil, err
	}
	cands, err := s.candidates(a, s.wanted(opts.Platform))
	if err != nil {
		return nil, err
	}
	if len(opts.Names) > 0 {
		if len(cands) != 1 {
			return nil, fmt.Errorf("%w: it holds %d images, so they cannot all be named %q", ErrInvalidArchive, len(cands), opts.Names)
		}
		if cands[0].refs, err = newNames(opts.Names); err != nil {
			return nil, err
		}
	}
	if err := s.importLayers(ctx, st, a, cands, ev); err != nil {
		return nil, err
	}
	imgs, err := s.commit(cands)
	if err != nil {
		return nil, err
	}
	for _, img := range imgs {
		ev.send(Event{Action: "image", Digest: img.ID, Names: img.Tags})
	}
	return imgs, nil
}

func parseRefs(names []string) ([]Reference, error) {
	var refs []Reference
	for _, n := range names {
		ref, err := ParseReference(n)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// newNames are names to give. None can hold a digest, which is what the image has.
func newNames(names []string) ([]Reference, error) {
	refs, err := parseRefs(names)
	for i, ref := range refs {
		if ref.Digest != "" {
			return nil, fmt.Errorf("%w %q: a new name needs a tag and no digest", ErrInvalidReference, names[i])
		}
	}
	return refs, err
}

// importWorkers is how many layers of one import are unpacked at a time.
const importWorkers = 2

func (s *Store) importLayers(ctx context.Context, st *stage, a archive, cands []*candidate, ev *events) error {
	var needs []layerWant
	for _, c := range cands {
		for _, w := range c.layers {
			if !s.hold(st, w.diffID) && !slices.ContainsFunc(needs, func(n layerWant) bool { return n.diffID == w.diffID }) {
				needs = append(needs, w)
			}
		}
	}
	staged := make([]*stagedLayer, len(needs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(importWorkers)
	for i, w := range needs {
		g.Go(func() (err error) {
			staged[i], err = s.importLayer(ctx, st, a, w, ev)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.adopt(st, slices.DeleteFunc(staged, func(l *stagedLayer) bool { return l == nil }))
}

func (s *Store) importLayer(ctx context.Context, st *stage, a archive, w layerWant, ev *events) (*stagedLayer, error) {
	src, err := a.layer(w.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: layer %s is missing from the archive (or is no tar); save it again", ErrInvalidArchive, w.name)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case src.err != nil:
		return nil, src.err
	case src.known != "":
		if src.known != w.diffID {
			return nil, fmt.Errorf("layer %s: %w: its uncompressed content has digest %s, the image's configuration says %s", w.name, ErrDigest, src.known, w.diffID)
		}
		return nil, nil
	case src.staged != nil:
		if err := src.staged.check(w); err != nil {
			return nil, damaged(fmt.Errorf("layer %s: %w", w.name, err))
		}
		return src.staged, nil
	}
	r, err := src.open()
	if err != nil {
		return nil, fmt.Errorf("opening layer %s: %w", w.name, err)
	}
	defer r.Close()
	sl, err := st.unpack(ctx, r, w, ev.progress("unpacking", w.name, w.blobSize))
	return sl, damaged(err)
}

// damaged adds the way out to a digest mismatch.
func damaged(err error) error {
	if errors.Is(err, ErrDigest) {
		return fmt.Errorf("%w; the archive is damaged, save it again", err)
	}
	return err
}

// holdBlob finds a layer by the digest of a compressed stream.
func (s *Store) holdBlob(st *stage, d digest.Digest) (digest.Digest, bool) {
	if d == "" {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.byBlob[d]
	if l == nil {
		l = s.layers[d]
	}
	if l == nil {
		return "", false
	}
	s.holdLocked(st, l)
	return l.DiffID, true
}

// brokenStream names the errors of a compressed archive's decompressor.
type brokenStream struct{ r io.Reader }

func (b brokenStream) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !isMarked(err) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: decompressing: %w; save or copy it again", ErrInvalidArchive, err)
	}
	return n, err
}
