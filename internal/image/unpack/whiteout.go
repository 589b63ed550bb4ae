//go:build linux

package unpack

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

const (
	whiteoutPrefix = ".wh."
	// opaqueName hides all of its directory's content in lower layers.
	opaqueName = ".wh..wh..opq"
	// metaPrefix starts names of AUFS's own bookkeeping, which old builders left in.
	metaPrefix = ".wh..wh."
	opaqueAttr = "trusted.overlay.opaque"
)

// whiteout translates one ".wh." entry of the tar.
func (u *unpacker) whiteout(parent rootfd.Dir, base string) error {
	if base == opaqueName {
		return u.setOpaque(parent.FD, parent.Path)
	}
	if strings.HasPrefix(base, metaPrefix) {
		return nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("%w: whiteout of %q", ErrUnsafe, name)
	}
	if u.opts.Portable {
		return u.mark(parent, base)
	}
	at := place{parent, name}
	err := parent.Mknod(name, unix.S_IFCHR, 0)
	if err == nil {
		u.whiteouts[at.path()] = true
		u.names += len(at.path())
		u.count(0)
		return nil
	}
	if !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("mknodat: %w", err)
	}
	return u.whiteoutOfOwn(at)
}

// whiteoutOfOwn handles a whiteout whose name this layer also brings: the
// lower one is hidden by the new one, for which a directory must be opaque.
func (u *unpacker) whiteoutOfOwn(at place) error {
	st, err := at.dir.Stat(at.base)
	if err != nil {
		return fmt.Errorf("fstatat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	fd, err := at.dir.OpenSub(at.base)
	if err != nil {
		return fmt.Errorf("openat: %w", err)
	}
	defer rootfd.Close(fd)
	return u.setOpaque(fd, at.path())
}

// mark keeps a whiteout as the tar has it: it is in nobody's way, and Merge reads it before all else.
func (u *unpacker) mark(dir rootfd.Dir, base string) error {
	fd, err := dir.Create(base)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("openat: %w", err)
	}
	rootfd.Close(fd)
	u.res.Portable = true
	u.count(0)
	return nil
}

func (u *unpacker) setOpaque(fd int, path string) error {
	if u.opts.Portable {
		u.opaque[path] = true
		u.names += len(path)
		return u.mark(rootfd.Dir{FD: fd, Path: path}, opaqueName)
	}
	if err := rootfd.SetAttr(fd, opaqueAttr, []byte("y")); err != nil {
		return err
	}
	u.opaque[path] = true
	u.names += len(path)
	return nil
}
