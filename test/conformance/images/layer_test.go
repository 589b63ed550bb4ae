package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// TestRootIsMerged: packages of Debian put files into /bin and /lib, which are links in the images.
func TestRootIsMerged(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./bin/su", Typeflag: tar.TypeReg, Mode: 0o4755},
		{Name: "./bin/also", Typeflag: tar.TypeLink, Linkname: "./bin/su"},
		{Name: "./usr/share/doc/su/copyright", Typeflag: tar.TypeReg, Mode: 0o644},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer := tree{}
	layer.link("bin", "usr/bin")
	if err := layer.read(&archive); err != nil {
		t.Fatal(err)
	}
	packed, err := layer.pack()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(packed)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Name == "usr/bin/su" && h.Mode != 0o4755 {
			t.Errorf("su has mode %o", h.Mode)
		}
		if h.Name == "usr/bin/also" && h.Linkname != "usr/bin/su" {
			t.Errorf("the hard link names %s", h.Linkname)
		}
	}
	// Directories first, and a hard link after what it names.
	if want := []string{"bin", "usr/", "usr/bin/", "usr/bin/su", "usr/bin/also"}; !slices.Equal(names, want) {
		t.Errorf("the layer holds %q, want %q", names, want)
	}
}
