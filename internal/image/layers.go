package image

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"

	"go.skiff.dev/skiff/internal/image/unpack"
	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// Names in the store's directory; see the package's documentation.
const (
	tmpDir     = "tmp"
	layersDir  = "layers"
	leasesDir  = "leases"
	blobsDir   = "blobs/sha256"
	emptyDir   = "empty"
	partialDir = "partial"
	mergedDir  = "merged"
	layerFile  = "layer.json"
	frameFile  = "frame.zst"
	imagesFile = "images.json"
	bootFile   = "boot.json"
	lockFile   = "lock"
)

// layerRecord is layer.json.
type layerRecord struct {
	Version int           `json:"version"`
	DiffID  digest.Digest `json:"diffID"`
	// Blobs are digests of compressed streams that held this layer, so that
	// one that comes again need not be read.
	Blobs    []digest.Digest `json:"blobs,omitempty"`
	TarBytes int64           `json:"tarBytes"`
	unpack.Result
}

// layer is one layer in the store.
type layer struct {
	layerRecord
	n int
	// suspect layers came out of an unclean boot and are verified before use.
	suspect bool
	// holds counts imports and pulls that rely on the layer.
	holds int
}

func (s *Store) layerDir(n int) string {
	return filepath.Join(s.opts.Dir, layersDir, strconv.FormatInt(int64(n), 36))
}

// loadLayers reads the records of all layers. A directory without a readable
// record was never renamed into place by us, or is broken: it goes.
func (s *Store) loadLayers() error {
	entries, err := os.ReadDir(filepath.Join(s.opts.Dir, layersDir))
	if err != nil {
		return fmt.Errorf("reading layers: %w", err)
	}
	for _, e := range entries {
		n, err := strconv.ParseInt(e.Name(), 36, 32)
		if err != nil {
			continue
		}
		l := &layer{n: int(n)}
		s.nextLayer = max(s.nextLayer, l.n+1)
		data, err := os.ReadFile(filepath.Join(s.layerDir(l.n), layerFile))
		if err == nil {
			err = json.Unmarshal(data, &l.layerRecord)
		}
		if err != nil || l.DiffID.Validate() != nil || s.layers[l.DiffID] != nil {
			s.log.Warn("dropping broken layer", "layer", e.Name(), "err", err)
			s.dropLayerDir(l.n)
			continue
		}
		s.register(l)
	}
	return nil
}

func (s *Store) register(l *layer) {
	s.layers[l.DiffID] = l
	for _, b := range l.Blobs {
		s.byBlob[b] = l
	}
}

// adopt makes staged layers part of the store: one sync for all, then one
// rename each. A layer that came in meanwhile stays in the stage. The layers
// are held until the stage is closed.
func (s *Store) adopt(st *stage, staged []*stagedLayer) error {
	for _, sl := range staged {
		if sl.blob != sl.rec.DiffID {
			sl.rec.Blobs = []digest.Digest{sl.blob}
		}
		data, err := json.Marshal(sl.rec)
		if err != nil {
			return fmt.Errorf("encoding layer record: %w", err)
		}
		if err := os.WriteFile(filepath.Join(sl.dir, layerFile), data, 0o600); err != nil {
			return s.wrapDisk(fmt.Errorf("writing layer record: %w", err))
		}
	}
	if len(staged) == 0 {
		return nil
	}
	if err := rootfd.SyncFS(st.dir); err != nil {
		return s.wrapDisk(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range staged {
		if err := s.adoptOne(st, sl); err != nil {
			return err
		}
	}
	return syncDir(filepath.Join(s.opts.Dir, layersDir))
}

func (s *Store) adoptOne(st *stage, sl *stagedLayer) error {
	l := s.layers[sl.rec.DiffID]
	if l == nil {
		l = &layer{layerRecord: sl.rec, n: s.nextLayer}
		s.nextLayer++
		if err := os.Rename(sl.dir, s.layerDir(l.n)); err != nil {
			return s.wrapDisk(fmt.Errorf("adopting layer %s: %w", l.DiffID, err))
		}
		s.register(l)
	}
	s.holdLocked(st, l)
	return nil
}

// hold keeps the layer from collection until the stage is closed. It returns
// false when the store does not have it.
func (s *Store) hold(st *stage, diffID digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.layers[diffID]
	if l == nil {
		return false
	}
	s.holdLocked(st, l)
	return true
}

func (s *Store) holdLocked(st *stage, l *layer) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !slices.Contains(st.holds, string(l.DiffID)) {
		l.holds++
		st.holds = append(st.holds, string(l.DiffID))
	}
}

func (s *Store) unhold(diffIDs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range diffIDs {
		if l := s.layers[digest.Digest(d)]; l != nil {
			l.holds--
		}
	}
}

// dropLayerDir takes a layer away atomically, then removes its files.
func (s *Store) dropLayerDir(n int) {
	old := s.layerDir(n)
	trash, err := s.trash(old)
	if err != nil {
		s.log.Warn("removing layer", "dir", old, "err", err)
		return
	}
	os.RemoveAll(trash)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening %q: %w", dir, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync %q: %w", dir, err)
	}
	return nil
}
