//go:build linux

package unpack

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// maxLinks is the kernel's own limit for links on one path (MAXSYMLINKS).
const maxLinks = 40

// parent opens the directory name, making what is missing of it.
func (u *unpacker) parent(name string) (rootfd.Dir, error) {
	links := 0
	return u.ensureDir(name, &links)
}

func (u *unpacker) ensureDir(name string, links *int) (rootfd.Dir, error) {
	d, err := u.root.OpenDir(name)
	if err == nil || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return d, err
	}
	if strings.HasPrefix(path.Base(name), whiteoutPrefix) {
		return rootfd.Dir{}, fmt.Errorf("%w: entry below a whiteout", ErrUnsafe)
	}
	up, err := u.ensureDir(path.Dir(name), links)
	if err != nil {
		return rootfd.Dir{}, err
	}
	at := place{up, path.Base(name)}
	st, err := up.Stat(at.base)
	switch {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return rootfd.Dir{}, fmt.Errorf("fstatat %q: %w", name, err)
	case u.whiteouts[at.path()]:
		return u.replaceWhiteout(at)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return u.followLink(at, links)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return u.root.OpenDir(at.path())
	default:
		return rootfd.Dir{}, fmt.Errorf("%w: %q is no directory", ErrUnsafe, clip(name))
	}
	return u.makeImplicit(at)
}

// makeImplicit makes a directory for which the tar has no entry (yet).
func (u *unpacker) makeImplicit(at place) (rootfd.Dir, error) {
	if err := u.opts.Room(blockSize); err != nil {
		return rootfd.Dir{}, err
	}
	if err := at.dir.Mkdir(at.base); err != nil {
		return rootfd.Dir{}, fmt.Errorf("mkdirat %q: %w", at.path(), err)
	}
	// The umask is not the image's business.
	if err := at.dir.Chmod(at.base, 0o755); err != nil {
		return rootfd.Dir{}, fmt.Errorf("chmod %q: %w", at.path(), err)
	}
	u.count(blockSize)
	u.implicit[at.path()] = true
	u.dirTimes[at.path()] = time.Unix(0, 0)
	u.names += 2 * len(at.path())
	return u.root.OpenDir(at.path())
}

// replaceWhiteout makes a directory where this layer removed something of the
// layers below, so it must not merge with theirs.
func (u *unpacker) replaceWhiteout(at place) (rootfd.Dir, error) {
	if err := u.free(&at); err != nil {
		return rootfd.Dir{}, err
	}
	d, err := u.makeImplicit(at)
	if err != nil {
		return rootfd.Dir{}, err
	}
	return d, u.setOpaque(d.FD, d.Path)
}

// followLink makes the directory that a dangling link of this layer leads to
// inside the layer: its target may be a directory of a lower layer.
func (u *unpacker) followLink(at place, links *int) (rootfd.Dir, error) {
	if *links++; *links > maxLinks {
		return rootfd.Dir{}, fmt.Errorf("%w: too many links at %q", ErrUnsafe, clip(at.path()))
	}
	target, err := at.dir.Readlink(at.base)
	if err != nil {
		return rootfd.Dir{}, err
	}
	if !strings.HasPrefix(target, "/") {
		target = "/" + at.dir.Path + "/" + target
	}
	// Cleaning a rooted path drops every ".." that would lead out.
	clean := strings.TrimPrefix(path.Clean(target), "/")
	if len(clean) >= u.opts.MaxPath {
		return rootfd.Dir{}, fmt.Errorf("%w: link target at %q", ErrLimit, clip(at.path()))
	}
	if clean == "" {
		clean = "."
	}
	return u.ensureDir(clean, links)
}

// forgetBelow drops what is remembered about a path and all below it.
func (u *unpacker) forgetBelow(name string) {
	below := func(p string) bool { return p == name || strings.HasPrefix(p, name+"/") }
	for p := range u.dirTimes {
		if below(p) {
			delete(u.dirTimes, p)
		}
	}
	for p := range u.implicit {
		if below(p) {
			delete(u.implicit, p)
		}
	}
	for p := range u.whiteouts {
		if below(p) {
			delete(u.whiteouts, p)
		}
	}
	for p := range u.opaque {
		if below(p) {
			delete(u.opaque, p)
		}
	}
}

// finish sets the directories' times and drops whiteouts that say nothing.
func (u *unpacker) finish() error {
	for p := range u.whiteouts {
		if !u.underOpaque(p) {
			continue
		}
		d, err := u.root.OpenDir(path.Dir(p))
		if err != nil {
			return err
		}
		if err := d.Unlink(path.Base(p)); err != nil {
			return fmt.Errorf("unlinkat %q: %w", p, err)
		}
	}
	for p, t := range u.dirTimes {
		d, err := u.root.OpenDir(p)
		if err != nil {
			return err
		}
		if err := d.SetTimes(".", t); err != nil {
			return fmt.Errorf("utimensat %q: %w", p, err)
		}
	}
	for p := range u.implicit {
		u.res.Implicit = append(u.res.Implicit, p)
	}
	u.res.OpaqueRoot = u.opaque["."]
	return nil
}

func (u *unpacker) underOpaque(p string) bool {
	for p != "." {
		p = path.Dir(p)
		if u.opaque[p] {
			return true
		}
	}
	return false
}

func wrapCall(call string, err error) error {
	if err == nil {
		return nil
	}
	return os.NewSyscallError(call, err)
}
