package image

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// Store is the node's images. All methods may be called concurrently.
type Store struct {
	opts   Options
	limits Limits
	log    *slog.Logger
	now    func() time.Time
	lock   *os.File
	pulls  pullGroup
	// merging is held while layers are merged.
	merging sync.Mutex
	// changed wakes the collection: something came in, or was let go.
	changed chan struct{}

	// mu guards all below and the files that mirror it.
	mu        sync.Mutex
	layers    map[digest.Digest]*layer
	byBlob    map[digest.Digest]*layer
	nextLayer int
	claims    map[digest.Digest]chan struct{}
	images    map[string]*Image
	leases    map[string]string // key -> image id
	bootID    string
	// keepAll says that the list of images had damage when it was read, so
	// that running containers may stand on layers that no image names. They
	// stay until the next clean Open.
	keepAll bool
}

// Open opens the store in opts.Dir, creating it when absent, and sweeps what a
// crash left behind. Only one process may have a store open; a second Open
// fails with a clear error.
func Open(opts Options) (*Store, error) {
	s := &Store{
		opts: opts, limits: opts.Limits.orDefault(), log: opts.Logger, now: opts.Now,
		layers: map[digest.Digest]*layer{}, byBlob: map[digest.Digest]*layer{},
		claims: map[digest.Digest]chan struct{}{}, images: map[string]*Image{}, leases: map[string]string{},
		changed: make(chan struct{}, 1),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.opts.Platform.OS == "" {
		s.opts.Platform = hostPlatform()
	}
	abs, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening image store: %w", err)
	}
	s.opts.Dir = abs
	if err := s.open(); err != nil {
		if s.lock != nil {
			s.lock.Close()
		}
		return nil, fmt.Errorf("opening image store %s: %w", abs, err)
	}
	return s, nil
}

func (s *Store) open() error {
	for _, d := range []string{"", tmpDir, layersDir, leasesDir, blobsDir, usedDir, partialDir, mergedDir} {
		if err := os.MkdirAll(filepath.Join(s.opts.Dir, d), 0o700); err != nil {
			return err
		}
	}
	// It is the root of containers, for any user.
	if err := os.Mkdir(filepath.Join(s.opts.Dir, emptyDir), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var err error
	if s.lock, err = lockDir(filepath.Join(s.opts.Dir, lockFile)); err != nil {
		return err
	}
	if s.bootID = s.opts.BootID; s.bootID == "" {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return fmt.Errorf("reading boot id: %w", err)
		}
		s.bootID = strings.TrimSpace(string(id))
	}
	if err := errors.Join(s.sweepTmp(), s.sweepPartials(partialAge)); err != nil {
		return err
	}
	if err := s.loadLayers(); err != nil {
		return err
	}
	if err := s.loadImages(); err != nil {
		return err
	}
	s.loadUsed()
	if err := s.loadBoot(); err != nil {
		return err
	}
	if !s.keepAll {
		s.sweepUnreferenced()
	}
	return nil
}

// Close marks a clean end and releases the directory.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.saveBoot(true)
	return errors.Join(err, s.lock.Close())
}

// lockDir takes the store's lock, which the kernel drops with the process.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := rootfd.Lock(f); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another process has it open; stop that one first (skiff down)")
		}
		return nil, err
	}
	return f, nil
}

// sweepTmp removes imports and pulls that a crash cut off.
func (s *Store) sweepTmp() error {
	dir := filepath.Join(s.opts.Dir, tmpDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("sweeping: %w", err)
		}
	}
	return nil
}

func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	for _, f := range []struct {
		have *int64
		def  int64
	}{
		{&l.Manifest, d.Manifest}, {&l.LayerBytes, d.LayerBytes}, {&l.Ratio, d.Ratio},
		{&l.XattrBytes, d.XattrBytes}, {&l.ReserveBytes, d.ReserveBytes},
	} {
		if *f.have == 0 {
			*f.have = f.def
		}
	}
	for _, f := range []struct {
		have *int
		def  int
	}{{&l.Layers, d.Layers}, {&l.LayerEntries, d.LayerEntries}, {&l.PathBytes, d.PathBytes}, {&l.NameBytes, d.NameBytes}} {
		if *f.have == 0 {
			*f.have = f.def
		}
	}
	return l
}
