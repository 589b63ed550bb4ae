package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ProbeOverlay tries what containers need of overlayfs: layers with whiteouts in the directory layers, and on them what
// is written, in the directory upper. File systems differ in what of it they can: another overlay and NFS take no upper
// directory, some hold no whiteouts or attributes (Documentation/filesystems/overlayfs.rst, "Upper and Work", "Lower"). Both
// directories must be there, and are left as they were.
func ProbeOverlay(layers, upper string) error {
	var dirs [2]string
	for i, parent := range []string{layers, upper} {
		dir, err := os.MkdirTemp(parent, ".probe")
		if err != nil {
			return fmt.Errorf("trying overlayfs: %w", err)
		}
		defer os.RemoveAll(dir)
		dirs[i] = dir
	}
	if err := probe(dirs[0], dirs[1]); err != nil {
		return fmt.Errorf("trying overlayfs with layers in %s and what is written in %s: %w", layers, upper, err)
	}
	return nil
}

// The names in the lower layers of the probe.
const (
	probeFile, probeHidden, probeDir = "file", "hidden", "dir"
)

func probe(layers, writable string) error {
	bottom, top := filepath.Join(layers, "bottom"), filepath.Join(layers, "top")
	upper, work := filepath.Join(writable, "upper"), filepath.Join(writable, "work")
	for _, dir := range []string{bottom, filepath.Join(bottom, probeDir), top, filepath.Join(top, probeDir), upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	for _, file := range []string{probeFile, probeHidden, filepath.Join(probeDir, probeHidden)} {
		if err := os.WriteFile(filepath.Join(bottom, file), []byte(file), 0o600); err != nil {
			return err
		}
	}
	if err := unix.Mknod(filepath.Join(top, probeHidden), unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("making a whiteout: %w", os.NewSyscallError("mknod", err))
	}
	if err := unix.Setxattr(filepath.Join(top, probeDir), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("marking a directory opaque: %w", os.NewSyscallError("setxattr", err))
	}
	fd, err := Overlay([]string{top, bottom}, upper, work, true, 0) // volatile (Linux 5.10), as containers have it
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return useOverlay(fd)
}

// useOverlay does what a container may do to its root.
func useOverlay(root int) error {
	var st unix.Stat_t
	for _, name := range []string{probeHidden, filepath.Join(probeDir, probeHidden)} {
		if err := unix.Fstatat(root, name, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("a whiteout does not hide %s: %w", name, errors.Join(err, unix.ENOTSUP))
		}
	}
	f, err := unix.Openat(root, probeFile, unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0) // copied up
	if err != nil {
		return fmt.Errorf("writing to a file of a layer: %w", os.NewSyscallError("openat", err))
	}
	unix.Close(f)
	if err := unix.Unlinkat(root, probeFile, 0); err != nil { // leaves a whiteout
		return fmt.Errorf("removing a file of a layer: %w", os.NewSyscallError("unlinkat", err))
	}
	if err := unix.Unlinkat(root, probeDir, unix.AT_REMOVEDIR); err != nil {
		return fmt.Errorf("removing a directory of a layer: %w", os.NewSyscallError("unlinkat", err))
	}
	if err := unix.Mkdirat(root, probeDir, 0o755); err != nil { // opaque
		return fmt.Errorf("making a directory where a layer has one: %w", os.NewSyscallError("mkdirat", err))
	}
	return nil
}
