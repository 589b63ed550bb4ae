package container

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// behind syncs records after their writers went on: nobody waits for the disk, and what is removed meanwhile needs no
// sync. Until it comes to a record a power cut may take that, and what the record tells of has ended with the power. A
// sandbox's record comes before those of its containers, as it was written before them.
type behind struct {
	mu      sync.Mutex
	waiting []string // directories
	busy    bool
}

// add asks for the record in dir to be synced, by one goroutine for all.
func (b *behind) add(dir string, log *slog.Logger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.waiting, dir) {
		b.waiting = append(b.waiting, dir)
	}
	if !b.busy {
		b.busy = true
		go b.run(log)
	}
}

func (b *behind) run(log *slog.Logger) {
	for {
		b.mu.Lock()
		if b.busy = len(b.waiting) > 0; !b.busy {
			b.waiting = nil
			b.mu.Unlock()
			return
		}
		dir := b.waiting[0]
		b.waiting = b.waiting[1:]
		b.mu.Unlock()
		if err := syncRecord(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("record not synced, a power cut may take it", "dir", dir, "err", err)
		}
	}
}

func syncRecord(dir string) error {
	for _, path := range []string{filepath.Join(dir, recordName), dir} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
