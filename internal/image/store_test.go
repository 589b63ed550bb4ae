package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.skiff.dev/skiff/test/testimage"
)

func importNamed(t *testing.T, s *Store, name, content string) Image {
	t.Helper()
	img := testimage.Image{Names: []string{name}, Layers: []testimage.Layer{
		{testimage.File("base", 0o644, []byte("base"))}, {testimage.File("f", 0o644, []byte(content))}}}
	imgs, err := s.Import(context.Background(), bytes.NewReader(archiveOf(t, img.WriteDockerArchive)), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return imgs[0]
}

// What is on disk is what the next Open finds; what a crash left is swept.
func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	s, err := Open(Options{Dir: dir, BootID: "one"})
	if err != nil {
		t.Fatal(err)
	}
	img := importNamed(t, s, "a:1", "one")
	if _, _, err := s.Prepare(context.Background(), img.ID, "c1"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: %v", err)
	}
	for _, d := range []string{"tmp/half/l1/fs", "layers/zz/fs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.lock.Close() // as a kill would
	s = openStore(t, Options{Dir: dir, BootID: "one"})
	if got, err := s.Resolve("a:1"); err != nil || got.ID != img.ID {
		t.Errorf("after reopening: %v, %v", got, err)
	}
	for _, d := range []string{"tmp/half", "layers/zz"} {
		if _, err := os.Lstat(filepath.Join(dir, d)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", d, err)
		}
	}
	var inUse *InUseError
	if err := s.Remove(img.ID); !errors.As(err, &inUse) || !slices.Equal(inUse.Keys, []string{"c1"}) {
		t.Errorf("the lease did not outlive the process: %v", err)
	}
	s.RetainLeases(nil)
	if err := s.Remove(img.ID); err != nil {
		t.Error(err)
	}
	checkEmpty(t, s)
}

// After a power cut a changed layer is found on first use, and is gone then.
func TestVerifyAfterUncleanBoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	s, err := Open(Options{Dir: dir, BootID: "one"})
	if err != nil {
		t.Fatal(err)
	}
	good, bad := importNamed(t, s, "good:1", "one"), importNamed(t, s, "bad:1", "two")
	layers, release, err := s.Prepare(context.Background(), bad.ID, "c")
	if err != nil {
		t.Fatal(err)
	}
	release()
	if err := os.WriteFile(filepath.Join(layers.Lower[0], "f"), []byte("twp"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.lock.Close()
	s = openStore(t, Options{Dir: dir, BootID: "two"})
	if _, _, err := s.Prepare(context.Background(), good.ID, "c"); err != nil {
		t.Errorf("good image: %v", err)
	}
	if _, _, err := s.Prepare(context.Background(), bad.ID, "d"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("bad image: %v", err)
	}
	if _, err := s.Resolve("bad:1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("bad image is still listed: %v", err)
	}
	importNamed(t, s, "bad:1", "two")
	if _, _, err := s.Prepare(context.Background(), bad.ID, "d"); err != nil {
		t.Errorf("after importing again: %v", err)
	}
}

func TestNames(t *testing.T) {
	s := openStore(t, Options{})
	a, b := importNamed(t, s, "x:1", "a"), importNamed(t, s, "x:1", "b")
	if got, err := s.Resolve("x:1"); err != nil || got.ID != b.ID {
		t.Errorf("x:1 is %v, %v; want the newer", got.ID, err)
	}
	if got, err := s.Resolve(a.ID); err != nil || len(got.Tags) != 0 {
		t.Errorf("older: %+v, %v", got, err)
	}
	if _, err := s.Tag("x:1", "y"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("y"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Resolve("x:1"); err != nil || len(got.Tags) != 1 {
		t.Errorf("after removing y: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "UPPER", "a b", "a:", "sha256:zz", strings.Repeat("a", 1000)} {
		if _, err := s.Resolve(bad); !errors.Is(err, ErrInvalidReference) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A digest that an archive claims in a name is none that the image can be had by.
func TestClaimedDigest(t *testing.T) {
	claim := "docker.io/library/app@sha256:" + strings.Repeat("a", 64)
	for form, write := range map[string]func(testimage.Image) []byte{
		"docker": func(i testimage.Image) []byte { return archiveOf(t, i.WriteDockerArchive) },
		"oci":    func(i testimage.Image) []byte { return archiveOf(t, i.WriteOCILayout) },
	} {
		s := openStore(t, Options{})
		img := twoLayers()
		img.Names = []string{claim}
		got, err := s.Import(t.Context(), bytes.NewReader(write(img)), ImportOptions{})
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if _, err := s.Resolve(claim); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: what is claimed is found: %v", form, err)
		}
		if _, err := s.Resolve("app@" + got[0].Manifest); err != nil {
			t.Errorf("%s: what it is is not found: %v", form, err)
		}
		if _, err := s.Import(t.Context(), bytes.NewReader(write(img)), ImportOptions{Names: []string{claim}}); !errors.Is(err, ErrInvalidReference) {
			t.Errorf("%s: as a new name: %v", form, err)
		}
		if _, err := s.Tag(got[0].ID, claim); !errors.Is(err, ErrInvalidReference) {
			t.Errorf("%s: as a tag: %v", form, err)
		}
	}
}

func TestPrune(t *testing.T) {
	now := time.Unix(1000, 0)
	s := openStore(t, Options{Now: func() time.Time { now = now.Add(time.Second); return now }})
	old, used, pinned := importNamed(t, s, "old:1", "1"), importNamed(t, s, "used:1", "2"), importNamed(t, s, "pinned:1", "3")
	young := importNamed(t, s, "young:1", "4")
	if err := s.Pin(pinned.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Prepare(context.Background(), used.ID, "c"); err != nil {
		t.Fatal(err)
	}
	removed, freed, err := s.Prune(context.Background(), PruneOptions{Bytes: 1})
	if err != nil || len(removed) != 1 || removed[0].ID != old.ID || freed == 0 {
		t.Fatalf("removed %v, freed %d, %v; want the oldest", removed, freed, err)
	}
	removed, _, err = s.Prune(context.Background(), PruneOptions{})
	if err != nil || len(removed) != 1 || removed[0].ID != young.ID {
		t.Errorf("removed %v, %v", removed, err)
	}
	if info := s.FsInfo(); info.UsedBytes == 0 || info.Inodes == 0 {
		t.Errorf("usage: %+v", info)
	}
	if n := len(s.layers); n != 3 {
		t.Errorf("%d layers are left, want the base and two", n)
	}
}

// 128 layers, the most that Docker allows, fit into one mount option page when
// they are named relative to Layers.Dir.
func TestManyLayers(t *testing.T) {
	img := testimage.Image{Names: []string{"deep:1"}}
	for i := range 128 {
		img.Layers = append(img.Layers, testimage.Layer{testimage.File(fmt.Sprintf("f%d", i), 0o644, []byte{byte(i)})})
	}
	s := openStore(t, Options{})
	imgs, err := s.Import(context.Background(), bytes.NewReader(archiveOf(t, img.WriteDockerArchive)), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	layers, release, err := s.Prepare(context.Background(), imgs[0].ID, "c")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	size := 0
	for _, l := range layers.Lower {
		size += len(strings.TrimPrefix(l, layers.Dir+"/")) + 1
	}
	if len(layers.Lower) != 128 || size > 4000 {
		t.Errorf("%d layers, %d bytes of names", len(layers.Lower), size)
	}
	if _, err := os.Stat(filepath.Join(layers.Lower[0], "f127")); err != nil {
		t.Errorf("top layer: %v", err)
	}
}
