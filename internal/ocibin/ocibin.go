// Package ocibin carries the program skiff-oci inside skiff. `make build` compiles skiff-oci first and puts it,
// compressed, into bin/, from where it is embedded; a plain `go build ./...` embeds the directory without it.
package ocibin

import (
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"go.skiff.dev/skiff/internal/oci"
)

// The directory always holds a README, so that a clean clone builds.
//
//go:embed bin
var files embed.FS

// ErrAbsent says that this skiff was built without its second half.
var ErrAbsent = errors.New("skiff-oci is not embedded in this binary: run \"make build\" (or name one in SKIFF_OCI)")

// EnvOverride names a file to take in place of the embedded program, for tests and development.
const EnvOverride = "SKIFF_OCI"

// Open returns the program in a sealed memfd: it can be executed through /proc/self/fd/N and can never be changed, not
// even by a container that gets hold of it (CVE-2019-5736). The caller closes it.
func Open() (*os.File, error) {
	r, err := source()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return oci.Seal("skiff-oci", r)
}

// Install writes the program to path, atomically.
func Install(path string) error {
	r, err := source()
	if err != nil {
		return err
	}
	defer r.Close()
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("installing skiff-oci: %w", err)
	}
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("installing skiff-oci: %w", err)
	}
	return nil
}

func source() (io.ReadCloser, error) {
	if path := os.Getenv(EnvOverride); path != "" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", EnvOverride, err)
		}
		return f, nil
	}
	f, err := files.Open("bin/skiff-oci.gz")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, err
	}
	return gzip.NewReader(f)
}
