package security

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/test/testimage"
)

// store is a fresh store beside a canary.
func store(t testing.TB, limits image.Limits) (*image.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "images")
	s, err := image.Open(image.Options{Dir: dir, Limits: limits, Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, dir
}

// archiveOf wraps one layer, which may be no tar at all, in a docker-archive. blob is how it travels.
func archiveOf(t testing.TB, plain, blob []byte) []byte {
	t.Helper()
	config := mustJSON(t, map[string]any{
		"os": "linux", "architecture": "amd64",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{digest.FromBytes(plain)}},
	})
	name := digest.FromBytes(config).Encoded() + ".json"
	manifest := mustJSON(t, []any{map[string]any{"Config": name, "RepoTags": []string{"evil:1"}, "Layers": []string{"l/layer.tar"}}})
	return members(t, testimage.File("l/layer.tar", 0, blob), testimage.File(name, 0, config), testimage.File("manifest.json", 0, manifest))
}

// nothingLeft complains of what a refused image left in the store.
func nothingLeft(t *testing.T, s *image.Store, dir string) {
	t.Helper()
	if l := s.List(); len(l) > 0 {
		t.Errorf("images: %+v", l)
	}
	for _, d := range []string{"tmp", "layers", "blobs/sha256"} {
		if es, err := os.ReadDir(filepath.Join(dir, d)); err != nil || len(es) > 0 {
			t.Errorf("left in %s: %v, %v", d, es, err)
		}
	}
}

// TestHostileLayers imports each hostile layer, as a stream and as a file: it is
// refused with words that say what is wrong, or comes in and stays inside.
func TestHostileLayers(t *testing.T) {
	c := newCanary(t)
	for _, h := range hostileLayers(t, c) {
		archive := archiveOf(t, h.layer, h.layer)
		for form, r := range map[string]io.Reader{"stream": bytes.NewBuffer(archive), "file": bytes.NewReader(archive)} {
			t.Run(h.name+"/"+form, func(t *testing.T) {
				s, dir := store(t, image.Limits{})
				imgs, err := s.Import(t.Context(), r, image.ImportOptions{})
				c.check(h.name)
				switch {
				case (err != nil) != h.refused:
					t.Errorf("refused: %v, want it to be: %v", err, h.refused)
				case err != nil && !strings.Contains(err.Error(), h.says):
					t.Errorf("%v does not say %q", err, h.says)
				case err != nil && len(err.Error()) > 1000:
					t.Errorf("an error of %d bytes", len(err.Error()))
				case err != nil && !errors.Is(err, image.ErrInvalidArchive) && !errors.Is(err, image.ErrLimit) && !errors.Is(err, image.ErrNoSpace):
					t.Errorf("error of no kind that callers know: %v", err)
				}
				if err == nil {
					checkTree(t, filepath.Join(dir, "layers"))
					if err := s.Remove(imgs[0].ID); err != nil {
						t.Error(err)
					}
					c.check("removing " + h.name)
				}
				nothingLeft(t, s, dir)
			})
		}
	}
}

// checkTree complains of what no layer may hold: devices, and overlayfs's own marks beside those of whiteouts.
func checkTree(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFBLK || kind == unix.S_IFCHR && st.Rdev != 0 {
			t.Errorf("%s is a device", path)
		}
		buf := make([]byte, 1<<16)
		n, err := unix.Llistxattr(path, buf)
		if err != nil {
			return err
		}
		for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
			if strings.Contains(name, "overlay.") && name != "trusted.overlay.opaque" {
				t.Errorf("%s has the attribute %s", path, name)
			}
			if name == "trusted.overlay.opaque" && st.Mode&unix.S_IFMT != unix.S_IFDIR {
				t.Errorf("%s, a file, has the attribute %s", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestBombs: what expands without end is cut off, with no more memory than any other image takes.
func TestBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("unpacks a gigabyte")
	}
	zeros := testimage.Gzip(make([]byte, 16<<20))
	head := func(size int64) []byte {
		return testimage.Gzip(raw("zeros", "", func(h []byte) {
			copy(h[124:], []byte{0x80, 0, 0, 0, byte(size >> 56), byte(size >> 48), byte(size >> 40), byte(size >> 32), byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)})
		}))
	}
	small := raw("d", "", func(h []byte) { h[156] = '5' })
	for name, c := range map[string]struct {
		blob   []byte
		limits image.Limits
		says   string
	}{
		// Concatenated gzip streams are one stream: ten gigabytes out of ten megabytes.
		"ten gigabytes of zeros": {join(head(10<<30), bytes.Repeat(zeros, 640)), image.Limits{}, ""},
		"more than declared":     {join(head(1<<20), bytes.Repeat(zeros, 640)), image.Limits{}, "times their size"},
		"bytes of a layer":       {join(head(1<<30), bytes.Repeat(zeros, 64)), image.Limits{LayerBytes: 32 << 20}, "uncompressed bytes"},
		"a million entries":      {bytes.Repeat(testimage.Gzip(bytes.Repeat(small, 10_000)), 100), image.Limits{LayerEntries: 50_000}, "more than 50000 entries"},
		"names of megabytes":     {bytes.Repeat(testimage.Gzip(join(pax("path", strings.Repeat("n", 900<<10)), small)), 1000), image.Limits{}, "path of"},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := store(t, c.limits)
			archive := archiveOf(t, nil, c.blob)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := s.Import(t.Context(), bytes.NewReader(archive), image.ImportOptions{})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, image.ErrLimit) && !errors.Is(err, image.ErrNoSpace) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v does not say %q", err, c.says)
			}
			if grown := int64(after.Sys) - int64(before.Sys); grown > 256<<20 {
				t.Errorf("took %d MiB of memory", grown>>20)
			}
			nothingLeft(t, s, dir)
		})
	}
}
