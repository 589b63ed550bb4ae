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
	"strings"

	"golang.org/x/sys/unix"
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
	// A rename anywhere on the machine can make ".." resolution uncertain; the kernel then says EAGAIN: try again.
	for range 256 {
		fd, err := unix.Openat2(r.FD, p, &how)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "openat2", Path: "/" + p, Err: err}
		}
		return fd, nil
	}
	return -1, &os.PathError{Op: "openat2", Path: "/" + p, Err: unix.EAGAIN}
}

// Path opens p with O_PATH: a handle on the place, of whatever kind it is.
func (r Root) Path(p string) (int, error) { return r.Open(p, unix.O_PATH, 0) }

// RealDir opens a directory no part of whose path is a symbolic link.
func (r Root) RealDir(p string) (int, error) {
	return r.Open(p, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_NO_SYMLINKS)
}

// MkdirAll opens the directory p and makes what is missing of it. Links are followed inside the root as far as the path
// exists; below that every part is made and opened by descriptor and must not be a link.
func (r Root) MkdirAll(p string, mode uint32) (int, error) {
	if fd, err := r.Open(p, unix.O_PATH|unix.O_DIRECTORY, 0); err == nil {
		return fd, nil
	}
	var rest []string
	dir := path.Clean("/" + p)
	fd := -1
	for dir != "/" {
		var base string
		dir, base = path.Dir(dir), path.Base(dir)
		rest = append([]string{base}, rest...)
		var err error
		if fd, err = r.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0); err == nil {
			break
		}
		if !isNotExist(err) {
			return -1, err
		}
	}
	if fd < 0 {
		return -1, &os.PathError{Op: "openat2", Path: p, Err: unix.ENOENT}
	}
	for _, e := range rest {
		next, err := mkdirOpen(fd, e, mode)
		unix.Close(fd)
		if err != nil {
			return -1, fmt.Errorf("creating directory %q: %w", p, err)
		}
		fd = next
	}
	return fd, nil
}

func isNotExist(err error) bool {
	return errors.Is(err, unix.ENOENT)
}

func mkdirOpen(dir int, name string, mode uint32) (int, error) {
	if err := unix.Mkdirat(dir, name, mode); err != nil && err != unix.EEXIST {
		return -1, os.NewSyscallError("mkdirat", err)
	}
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return fd, os.NewSyscallError("openat", err)
}

// File opens p with O_PATH and makes an empty file, and the directories above it, where nothing is.
func (r Root) File(p string, mode uint32) (int, error) {
	fd, err := r.Path(p)
	if err == nil || !isNotExist(err) {
		return fd, err
	}
	dir, base := path.Split(path.Clean("/" + p))
	d, err := r.MkdirAll(dir, 0o755)
	if err != nil {
		return -1, err
	}
	defer unix.Close(d)
	f, err := unix.Openat(d, base, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if errors.Is(err, unix.EEXIST) { // a link to nowhere, or someone was faster: never follow
		f, err = unix.Openat(d, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
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
