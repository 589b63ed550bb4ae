//go:build linux

package rootfd

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func (c *copier) owner(st *unix.Stat_t) (uid, gid int) {
	if c.o.Owner == nil {
		return int(st.Uid), int(st.Gid)
	}
	return c.o.Owner(st.Uid), c.o.Owner(st.Gid)
}

// take gives an open file or directory the owner, permissions and attributes of another. In this order, as a change of
// owner clears set-id bits and capabilities.
func (c *copier) take(from, to int, st *unix.Stat_t) error {
	uid, gid := c.owner(st)
	if err := SetOwner(to, uid, gid); err != nil {
		return err
	}
	if err := SetMode(to, st.Mode&0o7777); err != nil {
		return err
	}
	want, err := Attrs(from, ImageAttr)
	if err != nil {
		return err
	}
	// A directory may have been there before, a file inherits from its directory.
	if err := dropAttrs(to, want); err != nil {
		return err
	}
	for name, value := range want {
		if isACL(name) && c.o.Owner != nil {
			value = c.mapACL(value)
		}
		if err := SetAttr(to, name, value); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}

func dropAttrs(fd int, except map[string][]byte) error {
	have, err := Attrs(fd, ImageAttr)
	for name := range have {
		if _, stays := except[name]; !stays {
			err = errors.Join(err, os.NewSyscallError("fremovexattr "+name, unix.Fremovexattr(fd, name)))
		}
	}
	return err
}

// The form of an ACL in an attribute (include/uapi/linux/posix_acl_xattr.h): a version of four bytes, then entries of
// a tag, permissions and an id.
const (
	aclHead, aclEntry  = 4, 8
	aclUser, aclGroup  = 0x02, 0x08
	aclIDAt, aclTagEnd = 4, 2
)

func (c *copier) mapACL(value []byte) []byte {
	out := append([]byte(nil), value...)
	for at := aclHead; at+aclEntry <= len(out); at += aclEntry {
		if tag := binary.LittleEndian.Uint16(out[at : at+aclTagEnd]); tag != aclUser && tag != aclGroup {
			continue
		}
		field := out[at+aclIDAt : at+aclEntry]
		binary.LittleEndian.PutUint32(field, uint32(c.o.Owner(binary.LittleEndian.Uint32(field))))
	}
	return out
}

func (d Dir) setTimes(name string, st *unix.Stat_t) error {
	times := []unix.Timespec{st.Atim, st.Mtim}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(d.FD, name, times, unix.AT_SYMLINK_NOFOLLOW))
}
