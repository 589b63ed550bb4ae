package image

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.skiff.dev/skiff/test/testimage"
)

func openStore(t *testing.T, opts Options) *Store {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = filepath.Join(t.TempDir(), "images")
	}
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestImportBusybox(t *testing.T) {
	img, err := testimage.Busybox()
	if err != nil {
		t.Skip(err)
	}
	var buf bytes.Buffer
	if err := img.WriteDockerArchive(&buf); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, Options{})
	for _, r := range []interface {
		Read([]byte) (int, error)
	}{bytes.NewBuffer(buf.Bytes()), bytes.NewReader(buf.Bytes())} {
		got, err := s.Import(context.Background(), r, ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || !slices.Equal(got[0].Tags, []string{"docker.io/library/busybox:latest"}) {
			t.Fatalf("images: %+v", got)
		}
	}
	found, err := s.Resolve("busybox")
	if err != nil {
		t.Fatal(err)
	}
	layers, release, err := s.Prepare(context.Background(), found.ID, "c1")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	info, err := os.Stat(filepath.Join(layers.Lower[0], "bin/sh"))
	if err != nil || info.Mode() != 0o755 {
		t.Fatalf("bin/sh: %v, %v", info, err)
	}
	if entries, _ := os.ReadDir(filepath.Join(s.opts.Dir, tmpDir)); len(entries) != 0 {
		t.Errorf("left in tmp: %v", entries)
	}
}
