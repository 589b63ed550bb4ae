package image

import (
	"errors"
	"hash"
	"io"
	"sync"
	"sync/atomic"
)

const (
	aheadBlock  = 512 << 10
	aheadBlocks = 4
)

// readAhead reads and hashes a stream in its own goroutine, so that reading,
// decompressing, hashing and writing to disk use several cores.
type readAhead struct {
	full chan aheadChunk
	free chan []byte
	done chan struct{}
	stop sync.Once
	wg   sync.WaitGroup

	current []byte
	whole   []byte
	err     error
}

type aheadChunk struct {
	buf []byte
	err error
}

// newReadAhead starts reading r. Sums of h are valid after io.EOF. The caller
// must Close it before it uses r again.
func newReadAhead(r io.Reader, h hash.Hash) *readAhead {
	a := &readAhead{
		full: make(chan aheadChunk, aheadBlocks),
		free: make(chan []byte, aheadBlocks),
		done: make(chan struct{}),
	}
	for range aheadBlocks {
		a.free <- nil
	}
	a.wg.Go(func() { a.pump(r, h) })
	return a
}

func (a *readAhead) pump(r io.Reader, h hash.Hash) {
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.done:
			return
		}
		if buf == nil {
			buf = make([]byte, aheadBlock)
		}
		n, err := io.ReadFull(r, buf[:cap(buf)])
		if errors.Is(err, io.ErrUnexpectedEOF) && !isMarked(err) {
			err = io.EOF
		}
		h.Write(buf[:n])
		select {
		case a.full <- aheadChunk{buf[:n], err}:
		case <-a.done:
			return
		}
		if err != nil {
			return
		}
	}
}

func (a *readAhead) Read(p []byte) (int, error) {
	for len(a.current) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		if a.whole != nil {
			a.free <- a.whole
			a.whole = nil
		}
		c := <-a.full
		a.current, a.err = c.buf, c.err
		if c.err == nil {
			a.whole = c.buf
		}
	}
	n := copy(p, a.current)
	a.current = a.current[n:]
	return n, nil
}

// Close stops reading ahead and waits until r is no longer used.
func (a *readAhead) Close() error {
	a.stop.Do(func() { close(a.done) })
	a.wg.Wait()
	return nil
}

// marked is an error of a source that must be told apart from the errors that
// io.ReadFull makes up.
type marked struct{ error }

func (m marked) Unwrap() error { return m.error }

func isMarked(err error) bool {
	var m marked
	return errors.As(err, &m)
}

// source counts what is read from a foreign stream and keeps its first error,
// so that a broken network is not mistaken for a broken archive.
type source struct {
	r   io.Reader
	n   atomic.Int64
	err error
	// report, if set, hears about progress every few MiB.
	report func(n int64)
	said   int64
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	total := s.n.Add(int64(n))
	if s.report != nil && total-s.said >= 4<<20 {
		s.said = total
		s.report(total)
	}
	if err != nil && err != io.EOF {
		s.err = err
		err = marked{err}
	}
	return n, err
}

// markErrors turns a decompressor's errors into marked ones.
type markErrors struct{ r io.Reader }

func (m markErrors) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		err = marked{err}
	}
	return n, err
}
