package image

import (
	"fmt"
	"io"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// freeExpansion is how much a layer may expand before its ratio is looked at:
// small layers of zeros are common and harmless.
const freeExpansion = 1 << 30

// layerLimit bounds an uncompressed layer, absolutely and by its expansion.
type layerLimit struct {
	r      io.Reader
	src    *source
	limits Limits
	n      int64
}

func (l *layerLimit) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.n += int64(n)
	if l.n > l.limits.LayerBytes {
		return n, marked{fmt.Errorf("%w: more than %d uncompressed bytes", ErrLimit, l.limits.LayerBytes)}
	}
	if l.n > freeExpansion && l.n/l.limits.Ratio > l.src.n.Load() {
		return n, marked{fmt.Errorf("%w: %d compressed bytes expand to more than %d times their size", ErrLimit, l.src.n.Load(), l.limits.Ratio)}
	}
	return n, err
}

// roomCheck keeps an unpacking layer from filling the disk.
type roomCheck struct {
	dir     string
	reserve int64
	// allowance may be written without asking the file system again.
	allowance int64
	// spare, if set, frees room and says whether there was any.
	spare func() bool
}

const roomStep = 64 << 20

func (c *roomCheck) ask(size int64) error {
	if size <= c.allowance {
		c.allowance -= size
		return nil
	}
	free, err := rootfd.FreeBytes(c.dir)
	if err != nil {
		return err
	}
	free -= c.reserve
	if size > free && c.spare != nil && c.spare() {
		return c.ask(size)
	}
	if size > free {
		return fmt.Errorf("%w: a file needs %d bytes, %d are free beside the reserve of %d; free space and try again",
			ErrNoSpace, size, max(free, 0), c.reserve)
	}
	c.allowance = min(roomStep, free-size)
	return nil
}
