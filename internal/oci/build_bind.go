package oci

import (
	"errors"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

const (
	atimeGroup = unix.MOUNT_ATTR__ATIME | unix.MOUNT_ATTR_NODIRATIME
	// lockable are the flags that the root of a user namespace may not take from what it got (mount_namespaces(7)).
	lockable = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
)

// bindAttrs are the flags of a bind mount as mount(8), and runc after it, give them: without any option that is a flag the
// mount has its source's, with one it has those that are named and no others. Times of access are a group of their own,
// which only changes when one of it is set. In a user namespace what the source has stays, and to ask for its opposite is
// refused: root there must not undo what the host has set, and here it is the host that makes the mount.
//
// Pods do without this (CreateOptions.BareBinds): what the host forbids in a volume, such as suid files, stays forbidden.
func bindAttrs(o *mount.Options, fd int, mapped bool) (mount.Attr, error) {
	if o.Attr.Zero() {
		return o.Attr, nil
	}
	source, err := attrsOf(fd)
	if err != nil {
		return o.Attr, err
	}
	return replaceAttrs(o, source, mapped)
}

func replaceAttrs(o *mount.Options, source uint64, mapped bool) (mount.Attr, error) {
	a := o.Attr
	asked := a.Clear
	a.Clear = (lockable | unix.MOUNT_ATTR_NOSYMFOLLOW) &^ a.Set
	if mapped {
		if bad := asked & source & lockable; bad != 0 {
			return a, fmt.Errorf("taking flags %#x of the source away: %w", bad, unix.EPERM)
		}
		a.Clear &^= source & lockable
	}
	if !o.Atime {
		return a, nil
	}
	if mapped && a.Set&atimeGroup != source&atimeGroup {
		return a, fmt.Errorf("changing the source's times of access: %w", unix.EPERM)
	}
	a.Clear |= atimeGroup &^ (a.Set & unix.MOUNT_ATTR_NODIRATIME)
	return a, nil
}

// attrsOf reads the flags of a mount.
func attrsOf(fd int) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return 0, fmt.Errorf("fstatfs: %w", err)
	}
	var out uint64
	for _, f := range [...]struct {
		st   int64
		attr uint64
	}{
		{unix.ST_RDONLY, unix.MOUNT_ATTR_RDONLY}, {unix.ST_NOSUID, unix.MOUNT_ATTR_NOSUID}, {unix.ST_NODEV, unix.MOUNT_ATTR_NODEV},
		{unix.ST_NOEXEC, unix.MOUNT_ATTR_NOEXEC}, {unix.ST_NOATIME, unix.MOUNT_ATTR_NOATIME},
		{unix.ST_NODIRATIME, unix.MOUNT_ATTR_NODIRATIME},
	} {
		if int64(st.Flags)&f.st != 0 {
			out |= f.attr
		}
	}
	if st.Flags&(unix.ST_RELATIME|unix.ST_NOATIME) == 0 {
		out |= unix.MOUNT_ATTR_STRICTATIME
	}
	return out, nil
}

// openBind opens what a bind mount shows. An error begins behind the mount's number.
func (cr *creation) openBind(src string, image *ImageMount, m *specs.Mount, o *mount.Options) (fd int, late bool, err error) {
	if image != nil {
		if fd, err = cr.openImage(image); err != nil {
			return -1, false, fmt.Errorf(": mounting an image: %w", err)
		}
		return fd, false, nil
	}
	if fd, late, err = cr.tree(src, o.Recursive); err != nil {
		return -1, false, fmt.Errorf(".source: %w", err)
	}
	if err := cr.mapMount(fd, m, o); err != nil {
		unix.Close(fd)
		return -1, false, fmt.Errorf(": %w", err)
	}
	return fd, late, nil
}

// tree copies the mount at path. An ordinary user has no right to that: the root of the user namespace that is made for
// the container has it, in the mount namespace that is made with it. Then init comes late and copies it there; the file
// that is returned only says what it is.
func (cr *creation) tree(p string, recursive bool) (fd int, late bool, err error) {
	fd, err = mount.Clone(unix.AT_FDCWD, p, recursive)
	const both = unix.CLONE_NEWUSER | unix.CLONE_NEWNS
	if !errors.Is(err, unix.EPERM) || cr.sp.clone&both != both {
		return fd, false, err
	}
	fd, err = unix.Open(p, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false, &os.PathError{Op: "open", Path: p, Err: err}
	}
	return fd, true, nil
}
