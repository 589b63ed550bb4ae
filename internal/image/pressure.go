package image

import (
	"context"
	"fmt"
	"time"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// Thresholds say when images are collected, as upstream's kubelet has it.
type Thresholds struct {
	// High is how full the store's file system may become before images go,
	// Low is how full it may stay then; both in percent. A High of 100 means
	// that none ever go.
	High, Low int
	// Spare is how long after its import or last use an image stays.
	Spare time.Duration
}

// Collection is what one look at the file system led to.
type Collection struct {
	Removed []Image
	// Freed is in bytes, Before and After are percent in use.
	Freed         int64
	Before, After int
	// Short says that the file system is still fuller than it should be.
	Short bool
}

// slowCheck is how often the file system is looked at when nothing happens
// here: others write to it, too.
const slowCheck = 5 * time.Minute

// CollectUnderPressure collects after imports and pulls, when a container lets
// go of its image, and every five minutes, until ctx ends. report hears of
// each look at which images went or should have gone.
func (s *Store) CollectUnderPressure(ctx context.Context, t Thresholds, report func(Collection, error)) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-next.C:
		}
		c, err := s.Collect(ctx, t)
		if err != nil || c.Short || len(c.Removed) > 0 || c.Freed > 0 {
			report(c, err)
		}
		wait := slowCheck
		if c.Short {
			wait = min(wait, s.untilSpared(t.Spare))
		}
		next.Reset(wait)
	}
}

// Collect looks at the store's file system once and, when it is too full,
// removes images, the least recently used first, until it is not. What a
// container uses, what is pinned, and what came or was used just now stays.
func (s *Store) Collect(ctx context.Context, t Thresholds) (Collection, error) {
	var c Collection
	if err := s.sweepPartials(partialAge); err != nil {
		return c, err
	}
	size, free, err := rootfd.Space(s.opts.Dir)
	if err != nil {
		return c, err
	}
	c.Before = percentUsed(size, free)
	c.After = c.Before
	if t.High >= 100 || c.Before < t.High {
		return c, nil
	}
	if err := s.sweepPartials(0); err != nil {
		return c, err
	}
	if size, free, err = rootfd.Space(s.opts.Dir); err != nil {
		return c, err
	}
	need := size/100*int64(100-t.Low) - free
	if need <= 0 {
		c.After = percentUsed(size, free)
		return c, nil
	}
	c.Removed, c.Freed, err = s.Prune(ctx, PruneOptions{UnusedFor: t.Spare, Bytes: need})
	if err != nil {
		return c, fmt.Errorf("collecting images: %w", err)
	}
	// By the sizes of the layers, not by asking again in a loop: some file
	// systems give space back a while after the files are gone, and more images
	// than needed would go meanwhile.
	c.Short = c.Freed < need
	if c.Freed > 0 {
		if err := rootfd.SyncFS(s.opts.Dir); err != nil {
			return c, err
		}
	}
	size, free, err = rootfd.Space(s.opts.Dir)
	c.After = percentUsed(size, free)
	return c, err
}

// percentUsed rounds up as upstream does: what is not free is in use.
func percentUsed(size, free int64) int {
	if size <= 0 {
		return 0
	}
	return 100 - int(float64(free)/float64(size)*100)
}

// untilSpared is when the next image ceases to be spared; at least a second,
// so that a clock which jumps cannot make a loop of it.
func (s *Store) untilSpared(spare time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, out := s.now(), slowCheck
	for _, img := range s.images {
		left := img.used().Add(spare).Sub(now)
		if left > 0 && !img.Pinned && len(s.leaseKeys(img.ID)) == 0 {
			out = min(out, left)
		}
	}
	return max(out, time.Second)
}

// stir wakes the collection. s.mu may be held.
func (s *Store) stir() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
