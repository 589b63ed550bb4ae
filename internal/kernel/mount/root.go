// Package mount changes mount namespaces by descriptor only: openat2 (Linux 5.6) finds a place inside a root that
// nobody trusts, fsopen and open_tree (5.2) make a mount that is attached nowhere, mount_setattr (5.12) gives it its
// flags, move_mount puts it on the descriptor of the place. A path is never walked twice, so nobody can swap what was
// checked for something else (CVE-2021-30465 and its family).
package mount

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/openat"
)

// Root is an open directory in which untrusted paths are resolved: symbolic links, also absolute ones and "..", stay
// below it (RESOLVE_IN_ROOT); magic links of procfs are never followed.
type Root struct{ FD int }

// inRoot is how every untrusted path is resolved.
const inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// Open opens p inside the root. Flags are openat's; extra adds RESOLVE_ flags.
func (r Root) Open(p string, flags int, extra uint64) (int, error) {
	return r.open(p, flags, 0, extra)
}

func (r Root) open(p string, flags int, mode uint32, extra uint64) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Mode: uint64(mode), Resolve: inRoot | extra}
	p = strings.TrimLeft(p, "/")
	if p == "" {
		p = "."
	}
	fd, err := openat.Open(r.FD, p, &how)
	if err != nil {
		return -1, &os.PathError{Op: "openat2", Path: "/" + p, Err: err}
	}
	return fd, nil
}

// Path opens p with O_PATH: a handle on the place, of whatever kind it is.
func (r Root) Path(p string) (int, error) { return r.Open(p, unix.O_PATH, 0) }

// RealDir opens a directory no part of whose path is a symbolic link.
func (r Root) RealDir(p string) (int, error) {
	return r.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
}

// MkdirAll opens the directory p and makes what is missing of it. Links are followed inside the root, also those that
// lead to what is not there yet; what is made is made and opened by descriptor, one name at a time, and must not turn
// into a link meanwhile.
func (r Root) MkdirAll(p string, mode uint32) (int, error) {
	if fd, err := r.Open(p, unix.O_PATH|unix.O_DIRECTORY, 0); err == nil {
		return fd, nil
	}
	fd, missing, err := r.deepest(p)
	if err != nil {
		return -1, err
	}
	return mkdirs(fd, missing, p, mode)
}

// mkdirs makes a row of directories below fd, which it closes, and opens the last one.
func mkdirs(fd int, names []string, p string, mode uint32) (int, error) {
	for _, name := range names {
		next, err := mkdirOpen(fd, name, mode)
		unix.Close(fd)
		if err != nil {
			return -1, fmt.Errorf("creating directory %q: %w", p, err)
		}
		fd = next
	}
	return fd, nil
}

// maxLinks is how many links to nowhere one path may go through, as many as the kernel allows links at all.
const maxLinks = 40

// deepest opens the deepest directory of p that exists, and returns the names below it that are missing. A link to
// nowhere is replaced by what it says: images have such ones (/etc/resolv.conf -> ../run/systemd/resolve/...). ".." is
// left to the kernel, which knows where a directory lies.
func (r Root) deepest(p string) (fd int, missing []string, err error) {
	names := splitPath(p)
	for range maxLinks {
		n := len(names)
		for fd = -1; fd < 0; n-- {
			fd, err = r.Open(strings.Join(names[:n], "/"), unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil && (!errors.Is(err, unix.ENOENT) || n == 0) {
				return -1, nil, err
			}
			if fd >= 0 {
				break
			}
		}
		missing = names[n:]
		if len(missing) == 0 {
			return fd, nil, nil
		}
		target, err := readlinkat(fd, missing[0])
		if err != nil {
			if slices.Contains(missing, "..") {
				unix.Close(fd)
				return -1, nil, &os.PathError{Op: "openat2", Path: p, Err: unix.ENOENT}
			}
			return fd, missing, nil
		}
		unix.Close(fd)
		rest := append(splitPath(target), missing[1:]...)
		if !path.IsAbs(target) {
			rest = append(slices.Clone(names[:n]), rest...)
		}
		names = rest
	}
	return -1, nil, &os.PathError{Op: "openat2", Path: p, Err: unix.ELOOP}
}

func splitPath(p string) []string {
	return slices.DeleteFunc(strings.Split(p, "/"), func(name string) bool { return name == "" || name == "." })
}

// readlinkat fails with EINVAL on what is no link, with ENOENT on what is not there.
func readlinkat(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func mkdirOpen(dir int, name string, mode uint32) (int, error) {
	if err := unix.Mkdirat(dir, name, mode); err != nil && err != unix.EEXIST {
		return -1, os.NewSyscallError("mkdirat", err)
	}
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("openat", err)
}

// File opens p with O_PATH and makes an empty file, and the directories above it, where nothing is; where a link to
// nowhere leads, it is made there.
func (r Root) File(p string, mode uint32) (int, error) {
	fd, err := r.Path(p)
	if err == nil || !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	d, missing, err := r.deepest(p)
	if err != nil {
		return -1, err
	}
	if len(missing) == 0 { // it came meanwhile
		return d, nil
	}
	last := len(missing) - 1
	if d, err = mkdirs(d, missing[:last], p, 0o755); err != nil {
		return -1, err
	}
	defer unix.Close(d)
	f, err := unix.Openat(d, missing[last], unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if errors.Is(err, unix.EEXIST) { // someone was faster: never follow
		f, err = unix.Openat(d, missing[last], unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil && kind(f) == unix.S_IFLNK {
			unix.Close(f)
			return -1, &os.PathError{Op: "creating file", Path: p, Err: unix.ELOOP}
		}
	}
	if err != nil {
		return -1, &os.PathError{Op: "openat", Path: p, Err: err}
	}
	return f, nil
}

// kind is the file type bits of a descriptor.
func kind(fd int) uint32 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Mode & unix.S_IFMT
}

// IsDir tells whether fd is a directory.
func IsDir(fd int) bool { return kind(fd) == unix.S_IFDIR }

// Magic is the file system's type behind fd.
func Magic(fd int) int64 {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return 0
	}
	return int64(st.Type)
}
