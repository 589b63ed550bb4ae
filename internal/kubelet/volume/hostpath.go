package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
)

// setupHostPath checks that a path of the node is what the pod says, and makes
// it where the pod asks for that.
func setupHostPath(h *v1.HostPathVolumeSource) error {
	want := v1.HostPathUnset
	if h.Type != nil {
		want = *h.Type
	}
	if want == v1.HostPathUnset {
		return nil
	}
	info, err := os.Stat(h.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	switch {
	case want == v1.HostPathDirectoryOrCreate && missing:
		return os.MkdirAll(h.Path, 0o755)
	case want == v1.HostPathFileOrCreate && missing:
		return touch(h.Path)
	case missing || !is(info, want):
		return fmt.Errorf("hostPath type check failed: %s is not %s", h.Path, describe(want))
	}
	return nil
}

func touch(path string) error {
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("making host file: %w", err)
	}
	return f.Close()
}

func is(info fs.FileInfo, want v1.HostPathType) bool {
	mode := info.Mode()
	switch want {
	case v1.HostPathDirectory, v1.HostPathDirectoryOrCreate:
		return mode.IsDir()
	case v1.HostPathFile, v1.HostPathFileOrCreate:
		return mode.IsRegular()
	case v1.HostPathSocket:
		return mode&fs.ModeSocket != 0
	case v1.HostPathCharDev:
		return mode&fs.ModeCharDevice != 0
	case v1.HostPathBlockDev:
		return mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	default:
		return false
	}
}

func describe(want v1.HostPathType) string {
	switch want {
	case v1.HostPathDirectory, v1.HostPathDirectoryOrCreate:
		return "a directory"
	case v1.HostPathFile, v1.HostPathFileOrCreate:
		return "a file"
	case v1.HostPathSocket:
		return "a socket file"
	case v1.HostPathCharDev:
		return "a character device"
	case v1.HostPathBlockDev:
		return "a block device"
	default:
		return "a known type"
	}
}
