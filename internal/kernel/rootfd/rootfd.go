//go:build linux

// Package rootfd works on the files of an untrusted tree by descriptors only.
// A path of the tree is resolved by openat2 (Linux 5.6) with the tree as its
// root, so that no symbolic link, absolute path or ".." in it leads out, and
// everything is then done relative to the descriptor of the parent directory
// with a single name that is never followed.
//
// CVEs of unpackers that did not: docker 2014-9356, containerd 2021-32760 and
// 2025-47290, umoci 2021-29136.
package rootfd

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/openat"
)

// maxCached bounds the directory descriptors that a Root keeps open.
const maxCached = 48

// Root is a directory tree. It is not safe for concurrent use.
type Root struct {
	fd    int
	cache map[string]Dir
	order []string
}

// Dir is an open directory in a Root. The Root owns its descriptor: it is
// valid until maxCached-1 other directories were opened, or Forget.
type Dir struct {
	// FD is an O_RDONLY|O_DIRECTORY descriptor.
	FD int
	// Path is the directory's own path in the tree, free of links; "." is the root.
	Path string
}

// Open opens the tree below dir. dir itself is trusted.
func Open(dir string) (*Root, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return At(fd), nil
}

// At is the tree below an open directory, whose descriptor it takes over.
func At(fd int) *Root { return &Root{fd: fd, cache: map[string]Dir{}} }

// Close closes the tree's descriptors.
func (r *Root) Close() error {
	r.Forget()
	return unix.Close(r.fd)
}

// FD is the descriptor of the tree's root.
func (r *Root) FD() int { return r.fd }

// Forget closes all directories that were opened. It must be called when a
// directory or a symbolic link of the tree is replaced or moved.
func (r *Root) Forget() {
	for _, d := range r.cache {
		unix.Close(d.FD)
	}
	clear(r.cache)
	r.order = r.order[:0]
}

// OpenDir opens the directory at name, a clean relative path. Links on the way
// are followed inside the tree, as if it were the file system's root.
func (r *Root) OpenDir(name string) (Dir, error) {
	if name == "." || name == "" {
		return Dir{FD: r.fd, Path: "."}, nil
	}
	if d, ok := r.cache[name]; ok {
		r.touch(name)
		return d, nil
	}
	d := Dir{Path: name}
	var err error
	d.FD, err = r.openat2(name, unix.O_RDONLY|unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	if errors.Is(err, unix.ELOOP) {
		d.FD, err = r.openat2(name, unix.O_RDONLY|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
		if err == nil {
			d.Path, err = r.canonical(d.FD)
		}
	}
	if err != nil {
		return Dir{}, &fs.PathError{Op: "openat2", Path: name, Err: err}
	}
	r.remember(name, d)
	return d, nil
}

// OpenFile opens the regular file at name for reading without following any
// link. The caller closes the descriptor.
func (r *Root) OpenFile(name string) (int, error) {
	fd, err := r.openat2(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK,
		unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return -1, &fs.PathError{Op: "openat2", Path: name, Err: err}
	}
	return fd, nil
}

func (r *Root) openat2(name string, flags, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	return openat.Open(r.fd, name, &how)
}

// touch makes name the most recently used, so that it is closed last.
func (r *Root) touch(name string) {
	last := len(r.order) - 1
	if r.order[last] == name {
		return
	}
	i := slices.Index(r.order, name)
	copy(r.order[i:], r.order[i+1:])
	r.order[last] = name
}

func (r *Root) remember(name string, d Dir) {
	if len(r.order) >= maxCached {
		oldest := r.order[0]
		r.order = append(r.order[:0], r.order[1:]...)
		unix.Close(r.cache[oldest].FD)
		delete(r.cache, oldest)
	}
	r.cache[name] = d
	r.order = append(r.order, name)
}

// canonical asks the kernel for the path of a directory of the tree.
func (r *Root) canonical(fd int) (string, error) {
	root, err := readFDLink(r.fd)
	if err != nil {
		return "", err
	}
	p, err := readFDLink(fd)
	if err != nil {
		return "", err
	}
	if p == root {
		return ".", nil
	}
	rel, ok := strings.CutPrefix(p, root+"/")
	if !ok {
		return "", fmt.Errorf("resolving %q: not below %q: %w", p, root, unix.EXDEV)
	}
	return path.Clean(rel), nil
}

func readFDLink(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(procFD(fd), buf)
	if err != nil {
		return "", fmt.Errorf("readlink of descriptor: %w", err)
	}
	return string(buf[:n]), nil
}

func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
