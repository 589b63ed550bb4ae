// Package ocibin carries the small program skiff-oci inside of skiff.
//
// `make build` compiles it and puts it, compressed, into the directory bin
// beside this file; without it (as in `go build ./...` of a clean clone) Open
// says what to do.
package ocibin

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"os"

	"skiff.dev/skiff/internal/oci"
)

// ErrAbsent: this binary was built without the program.
var ErrAbsent = errors.New("this binary was built without skiff-oci; use `make build`")

//go:embed bin
var files embed.FS

// Open returns the program as a sealed memfd: nothing, no container either, can
// ever write to it. The caller closes it.
func Open() (*os.File, error) {
	packed, err := files.ReadFile("bin/skiff-oci.gz")
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, fmt.Errorf("reading the carried skiff-oci: %w", err)
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpacking the carried skiff-oci: %w", err)
	}
	return oci.Seal("skiff-oci", reader)
}
