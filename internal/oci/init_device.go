package oci

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// deviceLinks are the links that runtime-spec and every libc expect in /dev.
var deviceLinks = [...]pair{
	{"/dev/fd", "/proc/self/fd"}, {"/dev/stdin", "/proc/self/fd/0"}, {"/dev/stdout", "/proc/self/fd/1"},
	{"/dev/stderr", "/proc/self/fd/2"}, {"/dev/ptmx", "pts/ptmx"},
}

// makeDevices fills /dev, unless the whole of it was bound from somewhere: then it is not ours to fill.
func (s *initState) makeDevices() error {
	if !s.fillDev {
		return nil
	}
	for i := range s.devices {
		if err := s.makeDevice(&s.devices[i]); err != nil {
			return fmt.Errorf("device %q: %w", s.devices[i].path, err)
		}
	}
	for _, l := range deviceLinks {
		if err := s.makeLink(l.key, l.value); err != nil {
			return fmt.Errorf("link %q: %w", l.key, err)
		}
	}
	return nil
}

// deviceDir opens the directory of a device. No part of it may be a link: an image whose /dev points elsewhere would
// have nodes made, and chmod and chown done, wherever it points (CVE-2026-41579).
func (s *initState) deviceDir(p string) (int, error) {
	dir := path.Dir(p)
	fd, err := s.rootDir().MkdirAll(dir, 0o755)
	if err != nil {
		return -1, err
	}
	unix.Close(fd)
	return s.rootDir().RealDir(dir)
}

func (s *initState) makeDevice(d *devicePlan) error {
	dir, err := s.deviceDir(d.path)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if d.bindFD >= 0 {
		return bindDevice(dir, path.Base(d.path), d.bindFD)
	}
	return makeNode(dir, path.Base(d.path), d)
}

func makeNode(dir int, name string, d *devicePlan) error {
	err := unix.Mknodat(dir, name, d.mode, int(d.dev))
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return os.NewSyscallError("fstatat", err)
		}
		// "If a file already exists at path that does not match the requested device, the runtime MUST generate an error"
		// (runtime-spec config-linux, "Devices").
		if st.Mode&unix.S_IFMT != d.mode&unix.S_IFMT || st.Rdev != d.dev {
			return errors.New("there is another file at this path")
		}
		err = nil
	}
	if err != nil {
		return os.NewSyscallError("mknodat", err)
	}
	// The file was made by us a moment ago in a mount that only we see, or checked to be the same node; never followed.
	if d.uid == 0 && d.gid == 0 {
		return nil
	}
	return os.NewSyscallError("fchownat", unix.Fchownat(dir, name, int(d.uid), int(d.gid), unix.AT_SYMLINK_NOFOLLOW))
}

// bindDevice puts the host's node there: in a user namespace nobody may make one.
func bindDevice(dir int, name string, tree int) error {
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o666)
	if errors.Is(err, unix.EEXIST) {
		fd, err = unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return &os.PathError{Op: "binding device on", Path: name, Err: unix.ELOOP}
	}
	return mount.Attach(tree, fd)
}

func (s *initState) makeLink(name, target string) error {
	dir, err := s.deviceDir(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	base := path.Base(name)
	err = unix.Symlinkat(target, dir, base)
	if errors.Is(err, unix.EEXIST) && base == "ptmx" {
		// An image's own node would reach the host's terminals.
		if err = unix.Unlinkat(dir, base, 0); err == nil {
			err = unix.Symlinkat(target, dir, base)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return os.NewSyscallError("symlinkat", err)
}
