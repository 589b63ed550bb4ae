package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"go.skiff.dev/skiff/internal/image/registry"
)

// pullWorkers is how many layers of one pull are fetched and unpacked at a time.
const pullWorkers = 3

var acceptManifests = []string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, dockerManifest, dockerIndex}

// Pull fetches ref from its registry. Concurrent pulls of one reference with
// the same credentials are one pull.
func (s *Store) Pull(ctx context.Context, name string, opts PullOptions) (Image, error) {
	ref, err := ParseReference(name)
	if err != nil {
		return Image{}, err
	}
	img, err := s.pulls.do(ctx, pullKey(ref, opts), opts.Progress, func(ctx context.Context, progress func(Event)) (Image, error) {
		opts.Progress = progress
		return s.pull(ctx, ref, opts)
	})
	if err != nil {
		return Image{}, fmt.Errorf("pulling image %s: %w", ref, pullError(err))
	}
	return img, nil
}

// pullError gives the registry's errors the store's names.
func pullError(err error) error {
	for kind, name := range map[error]error{
		registry.ErrNotFound: ErrNotFound, registry.ErrUnauthorized: ErrUnauthorized, registry.ErrUnavailable: ErrUnavailable,
	} {
		if errors.Is(err, kind) {
			return namedError{name, err}
		}
	}
	return err
}

// namedError adds a sentinel to an error whose words say enough.
type namedError struct{ is, error error }

func (e namedError) Error() string   { return e.error.Error() }
func (e namedError) Unwrap() []error { return []error{e.is, e.error} }

func (s *Store) pull(ctx context.Context, ref Reference, opts PullOptions) (Image, error) {
	ev := newEvents(opts.Progress)
	if img, same := s.unchanged(ctx, ref, opts); same {
		ev.send(Event{Action: "image", Digest: img.ID, Names: img.Tags})
		return img, nil
	}
	client, err := s.openRepository(ctx, ref, opts)
	if err != nil {
		return Image{}, err
	}
	target := ref.Tag
	if ref.Digest != "" {
		target = string(ref.Digest)
	}
	top, err := client.Manifest(ctx, target, acceptManifests, s.limits.Manifest)
	if err != nil {
		return Image{}, err
	}
	ev.send(Event{Action: "resolving", Digest: string(top.Digest), Names: []string{ref.String()}})
	c, err := s.resolveRemote(ctx, client, ref, top, opts)
	if err != nil {
		return Image{}, err
	}
	st, err := s.newStage()
	if err != nil {
		return Image{}, err
	}
	defer func() {
		st.close()
		if err != nil && permanent(err) {
			s.dropUnused()
		}
	}()
	if err = s.pullLayers(ctx, st, client, c, ev); err != nil {
		return Image{}, err
	}
	imgs, err := s.commit([]*candidate{c})
	if err != nil {
		return Image{}, err
	}
	ev.send(Event{Action: "image", Digest: imgs[0].ID, Names: imgs[0].Tags})
	return imgs[0], nil
}

// unchanged says that the tag is here and still means the same at the registry. To ask that is no pull there: who makes
// pods with the policy Always again and again does not use up what a public registry allows.
func (s *Store) unchanged(ctx context.Context, ref Reference, opts PullOptions) (Image, bool) {
	have, err := s.Resolve(ref.String())
	if err != nil || ref.Digest != "" || !matches(s.wanted(opts.Platform).Platform, have.Platform) {
		return Image{}, false
	}
	// What is wrong shows again when the manifest is asked for, by a client of its own: some proxies refuse this question
	// to everybody, and credentials that are refused are not tried again.
	client, err := s.openRepository(ctx, ref, opts)
	if err != nil {
		return Image{}, false
	}
	d, err := client.Digest(ctx, ref.Tag, acceptManifests)
	if err != nil || !slices.Contains(have.Digests, ref.Name()+"@"+string(d)) {
		return Image{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	img := s.images[have.ID]
	if img == nil || !slices.Contains(img.Tags, ref.Tagged()) {
		return Image{}, false // it went meanwhile
	}
	s.touch(img)
	return img.clone(), true
}

// resolveRemote follows indexes down to the platform's manifest and fetches
// the configuration.
func (s *Store) resolveRemote(ctx context.Context, client *registry.Repository, ref Reference, top registry.Manifest, opts PullOptions) (*candidate, error) {
	want := s.wanted(opts.Platform)
	c := &candidate{refs: []Reference{ref}}
	m, err := parseManifest(top.Data, top.MediaType)
	for depth := 0; err == nil && m.isIndex(); depth++ {
		if depth > maxIndexDepth {
			return nil, fmt.Errorf("%w: indexes nested deeper than %d", ErrInvalidArchive, maxIndexDepth)
		}
		var desc ocispec.Descriptor
		if desc, err = pickPlatform(m, want, ref.String()); err != nil {
			return nil, err
		}
		c.index = top.Digest
		var next registry.Manifest
		if next, err = client.Manifest(ctx, string(desc.Digest), acceptManifests, s.limits.Manifest); err != nil {
			return nil, err
		}
		c.manifest = next.Data
		m, err = parseManifest(next.Data, desc.MediaType)
	}
	if err != nil {
		return nil, err
	}
	if c.manifest == nil {
		c.manifest = top.Data
	}
	if c.config, err = s.fetchConfig(ctx, client, *m.Config); err != nil {
		return nil, err
	}
	if err := s.fillFromManifest(c, m); err != nil {
		return nil, err
	}
	return c, checkPlatform(ref.String(), c.spec.Platform, want)
}

func (s *Store) fetchConfig(ctx context.Context, client *registry.Repository, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > s.limits.Manifest || d.Size < 0 {
		return nil, fmt.Errorf("%w: configuration of %d bytes, at most %d are allowed", ErrLimit, d.Size, s.limits.Manifest)
	}
	r, err := client.Blob(ctx, d.Digest, d.Size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, s.limits.Manifest))
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(data); got != d.Digest {
		return nil, fmt.Errorf("%w: configuration %s: its content has digest %s", ErrDigest, d.Digest, got)
	}
	return data, nil
}

func (s *Store) pullLayers(ctx context.Context, st *stage, client *registry.Repository, c *candidate, ev *events) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(pullWorkers)
	var seen []digest.Digest
	for _, w := range c.layers {
		if slices.Contains(seen, w.diffID) {
			continue
		}
		seen = append(seen, w.diffID)
		g.Go(func() error { return s.pullLayer(ctx, st, client, w, ev) })
	}
	return g.Wait()
}

// pullLayer fetches and unpacks one layer, unless the store has it or another
// pull is bringing it.
func (s *Store) pullLayer(ctx context.Context, st *stage, client *registry.Repository, w layerWant, ev *events) error {
	release, have, err := s.claim(ctx, st, w.diffID)
	if err != nil {
		return err
	}
	if have {
		ev.send(Event{Action: "exists", Digest: string(w.blob)})
		return nil
	}
	defer release()
	sl, err := s.fetchLayer(ctx, st, client, w, ev)
	if err != nil {
		return err
	}
	if err := s.adopt(st, []*stagedLayer{sl}); err != nil {
		return err
	}
	ev.send(Event{Action: "done", Digest: string(w.blob), Done: w.blobSize, Total: w.blobSize})
	return nil
}

// claim makes the caller the one who brings a layer, or waits for who does.
func (s *Store) claim(ctx context.Context, st *stage, d digest.Digest) (release func(), have bool, err error) {
	for {
		if s.hold(st, d) {
			return nil, true, nil
		}
		s.mu.Lock()
		other := s.claims[d]
		if other == nil {
			mine := make(chan struct{})
			s.claims[d] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.claims, d)
				s.mu.Unlock()
				close(mine)
			}, false, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

// permanent says that trying again gives the same, so that layers that were
// already fetched are of no use. After a broken connection they are kept for a
// day, or until the next Prune: the next try fetches only what is missing.
func permanent(err error) bool {
	for _, kind := range []error{ErrDigest, ErrInvalidArchive, ErrLimit, ErrPlatform, ErrNoSpace, registry.ErrContent, registry.ErrNotFound} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

func (s *Store) dropUnused() {
	s.mu.Lock()
	gone := s.detachUnreferenced()
	s.mu.Unlock()
	s.destroy(gone)
}
