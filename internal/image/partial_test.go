package image

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/test/testimage"
)

// ranged is a registry of one image whose layer does not shrink, with a limit on
// how much of it goes out and a record of what was asked for.
type ranged struct {
	*httptest.Server
	packed testimage.Packed

	mu sync.Mutex
	// left is how many bytes of layers still go out before every connection breaks; negative: all.
	left   int64
	plain  bool // knows no ranges
	asked  []string
	served int64
	busy   int
	most   int
}

func newRanged(t *testing.T, size int) *ranged {
	t.Helper()
	data := make([]byte, size)
	rng := rand.NewChaCha8([32]byte{})
	_, _ = rng.Read(data) // it does not fail
	p, err := testimage.Image{Layers: []testimage.Layer{{testimage.File("data", 0o644, data)}}}.Pack()
	if err != nil {
		t.Fatal(err)
	}
	r := &ranged{packed: p, left: -1}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *ranged) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case strings.Contains(req.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		_, _ = w.Write(r.packed.Manifest)
	case strings.HasSuffix(req.URL.Path, string(digest.FromBytes(r.packed.Config))):
		_, _ = w.Write(r.packed.Config)
	case strings.Contains(req.URL.Path, "/blobs/"):
		r.blob(w, req)
	}
}

func (r *ranged) blob(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.asked = append(r.asked, req.Header.Get("Range"))
	r.busy++
	r.most = max(r.most, r.busy)
	r.mu.Unlock()
	if r.plain {
		req.Header.Del("Range")
	}
	out := &cut{ResponseWriter: w, r: r}
	http.ServeContent(out, req, "", time.Time{}, bytes.NewReader(r.packed.Layers[0]))
	r.mu.Lock()
	r.busy--
	r.mu.Unlock()
	if out.broke {
		panic(http.ErrAbortHandler)
	}
}

// cut lets no more through than its registry has left.
type cut struct {
	http.ResponseWriter
	r     *ranged
	broke bool
}

func (c *cut) Write(p []byte) (int, error) {
	c.r.mu.Lock()
	n := int64(len(p))
	if c.r.left >= 0 {
		n = min(n, c.r.left)
		c.r.left -= n
	}
	c.r.served += n
	c.r.mu.Unlock()
	m, err := c.ResponseWriter.Write(p[:n])
	if err == nil && n < int64(len(p)) {
		c.broke, err = true, http.ErrAbortHandler
	}
	return m, err
}

// A download that broke off goes on where it was, in another process too, and
// what was kept is believed only as far as the digest.
func TestPullGoesOn(t *testing.T) {
	const size = 12 << 20
	for name, c := range map[string]struct {
		harm  func(t *testing.T, file string)
		plain bool
		// most is how much may move in the second pull.
		most int64
	}{
		"as it was":      {func(*testing.T, string) {}, false, size / 2},
		"without ranges": {func(*testing.T, string) {}, true, size + 4096},
		"damaged": {func(t *testing.T, file string) {
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte("damage"), 5<<20); err != nil {
				t.Fatal(err)
			}
		}, false, 2*size + 8192},
		"too long": {func(t *testing.T, file string) {
			if err := os.Truncate(file, 2*size); err != nil {
				t.Fatal(err)
			}
		}, false, size + 4096},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRanged(t, size)
			r.plain = c.plain
			ref := strings.TrimPrefix(r.URL, "http://") + "/app:1"
			dir := filepath.Join(t.TempDir(), "images")
			s, err := Open(Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			r.left = size * 3 / 4
			if _, err := s.Pull(t.Context(), ref, PullOptions{}); err == nil {
				t.Fatal("the pull came to its end")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, partialDir, digest.FromBytes(r.packed.Layers[0]).Encoded())
			if info, err := os.Stat(file); err != nil || info.Size() < size/2 {
				t.Fatalf("nothing was kept: %v, %v", info, err)
			}
			c.harm(t, file)
			r.left, r.served = -1, 0
			again := openStore(t, Options{Dir: dir})
			img, err := again.Pull(t.Context(), ref, PullOptions{})
			if err != nil || img.DiffIDs[0] != string(digest.FromBytes(r.packed.Plain[0])) {
				t.Fatalf("%+v, %v", img, err)
			}
			if r.served > c.most {
				t.Errorf("%d bytes moved, at most %d were missing", r.served, c.most)
			}
			if es, err := os.ReadDir(filepath.Join(dir, partialDir)); err != nil || len(es) > 0 {
				t.Errorf("left: %v, %v", es, err)
			}
		})
	}
}

// A wrong beginning that cannot be removed costs one more download, not one
// after the other.
func TestWrongBeginningStays(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	r := newRanged(t, 12<<20)
	s := openStore(t, Options{})
	file := filepath.Join(s.opts.Dir, partialDir, digest.FromBytes(r.packed.Layers[0]).Encoded())
	if err := os.WriteFile(file, make([]byte, 9<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, file, "", unix.MS_BIND, ""); err != nil { // a mount point is not removed
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(file, 0); err != nil {
			t.Error(err)
		}
	}()
	if _, err := s.Pull(t.Context(), strings.TrimPrefix(r.URL, "http://")+"/app:1", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if total := int64(len(r.packed.Layers[0])); r.served > 2*total {
		t.Errorf("%d bytes moved for a layer of %d", r.served, total)
	}
}

// What is kept of a download makes room for the layer itself, whether it came
// just now or was there before.
func TestBeginningMakesRoom(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	const size = 26 << 20 // of 32
	for _, kept := range []int{0, 12 << 20} {
		t.Run(fmt.Sprint("kept ", kept), func(t *testing.T) {
			r := newRanged(t, size)
			s := smallDisk(t, Options{})
			packed := r.packed.Layers[0]
			file := filepath.Join(s.opts.Dir, partialDir, digest.FromBytes(packed).Encoded())
			if err := os.WriteFile(file, packed[:kept], 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Pull(t.Context(), strings.TrimPrefix(r.URL, "http://")+"/app:1", PullOptions{}); err != nil {
				t.Fatal(err)
			}
			if es, err := os.ReadDir(filepath.Join(s.opts.Dir, partialDir)); err != nil || len(es) > 0 {
				t.Errorf("left: %v, %v", es, err)
			}
		})
	}
}

// Parts of a layer that a proxy gives in whole pages of its own are cut where
// they were asked to end; one from elsewhere in the layer is refused.
func TestRangesOfAProxy(t *testing.T) {
	r := newRanged(t, 40<<20)
	elsewhere := false
	r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var from, until int64
		if n, _ := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-%d", &from, &until); n == 2 {
			until = min(until+1<<20, int64(len(r.packed.Layers[0]))-1)
			if elsewhere && from > 0 {
				from--
			}
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, until))
		}
		r.ServeHTTP(w, req)
	})
	ref := strings.TrimPrefix(r.URL, "http://") + "/app:1"
	s := openStore(t, Options{})
	if _, err := s.Pull(t.Context(), ref, PullOptions{}); err != nil {
		t.Fatal(err)
	}
	elsewhere = true
	s = openStore(t, Options{})
	if _, err := s.Pull(t.Context(), ref, PullOptions{}); err == nil || !strings.Contains(err.Error(), "answered with range") {
		t.Errorf("with ranges from elsewhere: %v", err)
	}
}

// A large layer comes in several ranges at once, in order and whole; from a
// registry that knows none in one piece.
func TestPullInRanges(t *testing.T) {
	const size = 48 << 20
	for _, plain := range []bool{false, true} {
		t.Run(fmt.Sprint("plain ", plain), func(t *testing.T) {
			r := newRanged(t, size)
			r.plain = plain
			s := openStore(t, Options{})
			if _, err := s.Pull(t.Context(), strings.TrimPrefix(r.URL, "http://")+"/app:1", PullOptions{}); err != nil {
				t.Fatal(err)
			}
			total := int64(len(r.packed.Layers[0]))
			if r.served != total {
				t.Errorf("%d bytes moved, the layer has %d", r.served, total)
			}
			if plain && len(r.asked) != 1 || !plain && (len(r.asked) < 12 || r.most > 4) {
				t.Errorf("%d requests, %d at once: %q", len(r.asked), r.most, r.asked)
			}
		})
	}
}

// A part of a layer that broke off and comes again from an endpoint without
// ranges ends where the next part begins.
func TestRangeGoesOnWithoutRanges(t *testing.T) {
	r := newRanged(t, 40<<20)
	var first atomic.Bool
	r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !strings.HasSuffix(req.Header.Get("Range"), "-4194303") {
			r.ServeHTTP(w, req)
			return
		}
		if first.Swap(true) {
			req.Header.Del("Range")
			r.ServeHTTP(w, req)
			return
		}
		w.Header().Set("Content-Length", "4194304")
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-4194303/%d", len(r.packed.Layers[0])))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(r.packed.Layers[0][:1<<20]) // the test sees what came
		panic(http.ErrAbortHandler)
	})
	s := openStore(t, Options{})
	if _, err := s.Pull(t.Context(), strings.TrimPrefix(r.URL, "http://")+"/app:1", PullOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Beginnings of layers go when they are old, also while the store stays open;
// when the disk is full they all go, and before any image.
func TestPartialsAreCollected(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Mount) {
		return
	}
	s := smallDisk(t, Options{})
	keep := func(name string, size int, age time.Duration) string {
		path := filepath.Join(s.opts.Dir, partialDir, name)
		then := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, make([]byte, size), 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fill(t, s, "a:1")
	old, young := keep("old", 1, partialAge+time.Hour), keep("young", 24<<20, time.Hour)
	limits := Thresholds{High: 100, Low: 70}
	for _, c := range []struct {
		gone, there string
	}{{old, young}, {young, s.opts.Dir}} {
		got, err := s.Collect(t.Context(), limits)
		if err != nil || len(got.Removed) != 0 || got.Short {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := os.Stat(c.gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s stayed: %v", c.gone, err)
		}
		if _, err := os.Stat(c.there); err != nil {
			t.Error(err)
		}
		limits.High = 85
	}
}
