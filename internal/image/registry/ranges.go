package registry

import (
	"bytes"
	"context"
	"io"

	"github.com/opencontainers/go-digest"
)

const (
	// A blob of which manyRanges bytes are missing comes in ranges of rangeBytes, of which at most ahead are under way: many
	// registries give one connection less than the line can carry. They wait in memory.
	manyRanges = 32 << 20
	rangeBytes = 4 << 20
	ahead      = 3
)

// ranges reads a blob in order while later parts of it are already coming.
type ranges struct {
	cancel context.CancelFunc
	// parts come in their order; each has room for its one result.
	parts   chan chan part
	current io.Reader
	first   io.Closer
}

type part struct {
	data []byte
	err  error
}

func newRanges(ctx context.Context, r *Repository, first *blob) *ranges {
	ctx, cancel := context.WithCancel(ctx)
	g := &ranges{cancel: cancel, parts: make(chan chan part, ahead-1), current: first, first: first}
	go g.fetch(ctx, r, first.digest, first.until, first.size)
	return g
}

// fetch begins a part whenever there is room for another one.
func (g *ranges) fetch(ctx context.Context, r *Repository, d digest.Digest, at, size int64) {
	defer close(g.parts)
	for ; at < size; at += rangeBytes {
		result := make(chan part, 1)
		select {
		case g.parts <- result:
		case <-ctx.Done():
			return
		}
		go func(at, until int64) {
			data, err := fetchPart(ctx, r, d, at, until, size)
			result <- part{data, err}
		}(at, min(at+rangeBytes, size))
	}
}

func fetchPart(ctx context.Context, r *Repository, d digest.Digest, at, until, size int64) ([]byte, error) {
	b, err := r.part(ctx, d, at, until, size)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	data := make([]byte, until-at)
	_, err = io.ReadFull(b, data)
	return data, err
}

func (g *ranges) Read(p []byte) (int, error) {
	for {
		n, err := g.current.Read(p)
		if err != io.EOF {
			return n, err
		}
		if n > 0 {
			return n, nil // it is the end of a part only
		}
		next, ok := <-g.parts
		if !ok {
			return 0, io.EOF
		}
		got := <-next
		if got.err != nil {
			return 0, got.err
		}
		g.current = bytes.NewReader(got.data)
	}
}

// Close ends what is under way.
func (g *ranges) Close() error {
	g.cancel()
	return g.first.Close()
}
