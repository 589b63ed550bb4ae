package image

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/testimage"
)

// hiding is an image whose second layer hides a file of the first.
func hiding(t *testing.T, s *Store) Image {
	t.Helper()
	img := testimage.Image{Names: []string{"hiding:1"}, Layers: []testimage.Layer{
		{testimage.File("gone", 0o644, []byte("base")), testimage.File("stays", 0o644, []byte("stays"))},
		{testimage.File(".wh.gone", 0, nil), testimage.File("new", 0o600, []byte("new"))}}}
	imgs, err := s.Import(context.Background(), bytes.NewReader(archiveOf(t, img.WriteDockerArchive)), ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return imgs[0]
}

func prepare(t *testing.T, s *Store, img Image) (Layers, func()) {
	t.Helper()
	layers, release, err := s.Prepare(context.Background(), img.ID, "c1")
	if err != nil {
		t.Fatal(err)
	}
	return layers, release
}

func wantTree(t *testing.T, dir string) {
	t.Helper()
	for name, want := range map[string]error{"gone": os.ErrNotExist, ".wh.gone": os.ErrNotExist, "stays": nil, "new": nil} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, want) {
			t.Errorf("%s in %s: %v", name, dir, err)
		}
	}
}

// TestCopies keeps an image where overlayfs does not work: merged once, with
// files that are the layers' own, copied for each container, as long as the
// image is there and no longer than the boot.
func TestCopies(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	s, err := Open(Options{Dir: dir, BootID: "one", Copy: true})
	if err != nil {
		t.Fatal(err)
	}
	img := hiding(t, s)
	layers, _ := prepare(t, s, img)
	if !layers.Copy || len(layers.Lower) != 1 {
		t.Fatalf("layers %+v", layers)
	}
	wantTree(t, layers.Lower[0])
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(layers.Lower[0], "new"), &st); err != nil || st.Nlink != 2 {
		t.Errorf("the merged file has %d names, %v", st.Nlink, err)
	}
	root := t.TempDir()
	if err := s.CopyRoot(context.Background(), layers, root, IDRange{Host: 1000, Length: 10}); err != nil {
		t.Fatal(err)
	}
	wantTree(t, root)
	if err := unix.Stat(filepath.Join(root, "new"), &st); err != nil || st.Nlink != 1 || os.Getuid() == 0 && st.Uid != 1000 {
		t.Errorf("the copied file: %+v, %v", st, err)
	}
	if again, _ := prepare(t, s, img); again.Lower[0] != layers.Lower[0] {
		t.Errorf("merged twice: %v, %v", layers, again)
	}
	s.lock.Close() // as a kill would

	// Another boot: merged again, the layers verified in their own form.
	s = openStore(t, Options{Dir: dir, BootID: "two", Copy: true})
	if left, err := os.ReadDir(filepath.Join(dir, mergedDir)); err != nil || len(left) > 0 {
		t.Errorf("after a boot: %v %v", left, err)
	}
	layers, release := prepare(t, s, img)
	wantTree(t, layers.Lower[0])
	var out bytes.Buffer
	if err := s.Save(context.Background(), &out, "hiding:1"); err != nil {
		t.Error(err)
	}
	release()
	if err := s.Remove(img.ID); err != nil {
		t.Error(err)
	}
	for _, d := range []string{mergedDir, layersDir, tmpDir} {
		if left, err := os.ReadDir(filepath.Join(dir, d)); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v %v", d, left, err)
		}
	}
}

// TestFormsOfLayersMix opens a store with the other way of making roots: each
// image is used in the way that its layers allow.
func TestFormsOfLayersMix(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "images")
	for _, first := range []bool{true, false} {
		s, err := Open(Options{Dir: dir, Copy: first})
		if err != nil {
			t.Fatal(err)
		}
		img, plain := hiding(t, s), importNamed(t, s, "plain:1", "nothing hidden")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, err = Open(Options{Dir: dir, Copy: !first})
		if err != nil {
			t.Fatal(err)
		}
		layers, release := prepare(t, s, img)
		if !layers.Copy {
			t.Errorf("layers of the other form, copies first %v: %+v", first, layers)
		} else {
			wantTree(t, layers.Lower[0])
		}
		release()
		layers, release = prepare(t, s, plain)
		if layers.Copy == first {
			t.Errorf("layers of no form, copies first %v: %+v", first, layers)
		}
		release()
		for _, i := range []Image{img, plain} {
			if err := s.Remove(i.ID); err != nil {
				t.Error(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
