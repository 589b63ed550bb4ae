package helloimage

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"

	"go.skiff.dev/skiff/internal/image"
)

func TestArchiveImports(t *testing.T) {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	if _, err := zw.Write([]byte("#!/bin/sh\n")); err != nil {
		t.Fatal(err)
	}
	zw.Close()
	var first, second bytes.Buffer
	if err := write(&first, packed.Bytes(), "sha256:x"); err != nil {
		t.Fatal(err)
	}
	if err := write(&second, packed.Bytes(), "sha256:x"); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the archive is not the same twice")
	}
	s, err := image.Open(image.Options{Dir: filepath.Join(t.TempDir(), "images")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Import(context.Background(), &first, image.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	img, err := s.Resolve(Ref)
	if err != nil {
		t.Fatal(err)
	}
	if img.Config.User != user || img.Config.Entrypoint[0] != "/hello" {
		t.Errorf("config: %+v", img.Config)
	}
}
