//go:build linux

package rootfd

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The calls below act on one name in an open directory. The name is a single
// component and is never followed.

// Create makes a new regular file for writing; it fails with EEXIST when the
// name is taken. The caller closes the descriptor.
func (d Dir) Create(name string) (int, error) {
	return ignoringEINTR(func() (int, error) {
		return unix.Openat(d.FD, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
}

// OpenSub opens the directory name for changing its attributes. The caller closes it.
func (d Dir) OpenSub(name string) (int, error) {
	return ignoringEINTR(func() (int, error) {
		return unix.Openat(d.FD, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// Mkdir makes a directory with mode 0755 less the umask.
func (d Dir) Mkdir(name string) error { return unix.Mkdirat(d.FD, name, 0o755) }

// Mknod makes a device node or fifo of mode 0600 plus the type in mode.
func (d Dir) Mknod(name string, mode uint32, dev uint64) error {
	return unix.Mknodat(d.FD, name, mode|0o600, int(dev))
}

// Symlink makes a symbolic link; its target is text.
func (d Dir) Symlink(target, name string) error { return unix.Symlinkat(target, d.FD, name) }

// Link makes name a further name of old in the directory from.
func (d Dir) Link(from Dir, old, name string) error {
	return unix.Linkat(from.FD, old, d.FD, name, 0)
}

// Move renames name to newName in the directory to.
func (d Dir) Move(name string, to Dir, newName string) error {
	return unix.Renameat2(d.FD, name, to.FD, newName, unix.RENAME_NOREPLACE)
}

// Unlink removes a name that is no directory.
func (d Dir) Unlink(name string) error { return unix.Unlinkat(d.FD, name, 0) }

// Stat reads the attributes of a name.
func (d Dir) Stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.FD, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// Chown sets the owner of a name.
func (d Dir) Chown(name string, uid, gid int) error {
	return unix.Fchownat(d.FD, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// Chmod sets the permissions of a name that is no symbolic link, through an
// O_PATH descriptor, as fchmodat knows no AT_SYMLINK_NOFOLLOW before Linux 6.6.
func (d Dir) Chmod(name string, mode uint32) error {
	return d.viaPath(name, func(p string) error { return unix.Chmod(p, mode) })
}

// Setxattr sets an extended attribute of a name of any type.
func (d Dir) Setxattr(name, attr string, value []byte) error {
	return d.viaPath(name, func(p string) error { return unix.Setxattr(p, attr, value, 0) })
}

// SetTimes sets access and modification time of a name.
func (d Dir) SetTimes(name string, t time.Time) error {
	ts := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	return unix.UtimesNanoAt(d.FD, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// viaPath calls f with a path that stands for exactly the inode of name.
func (d Dir) viaPath(name string, f func(string) error) error {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Openat(d.FD, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(procFD(fd))
}

// WriteAll writes the whole of p to fd.
func WriteAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := ignoringEINTR(func() (int, error) { return unix.Write(fd, p) })
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		p = p[n:]
	}
	return nil
}

// Skip leaves a hole of n bytes where fd is; SetSize makes it one at the end of a file, too.
func Skip(fd int, n int64) error {
	_, err := unix.Seek(fd, n, io.SeekCurrent)
	return os.NewSyscallError("lseek", err)
}

// SetSize is ftruncate.
func SetSize(fd int, size int64) error {
	_, err := ignoringEINTR(func() (int, error) { return 0, unix.Ftruncate(fd, size) })
	return os.NewSyscallError("ftruncate", err)
}

// Read reads from fd; it returns 0 at the end of the file.
func Read(fd int, p []byte) (int, error) {
	return ignoringEINTR(func() (int, error) { return unix.Read(fd, p) })
}

// Close closes a descriptor; for read-only ones an error says nothing.
func Close(fd int) { _ = unix.Close(fd) }

// SetOwner gives an open file or directory an owner; SetMode and SetAttr do the same for the rest.
func SetOwner(fd, uid, gid int) error {
	return os.NewSyscallError("fchown", unix.Fchown(fd, uid, gid))
}

// SetMode sets permissions with set-id and sticky bits.
func SetMode(fd int, mode uint32) error {
	return os.NewSyscallError("fchmod", unix.Fchmod(fd, mode))
}

// SetAttr sets an extended attribute.
func SetAttr(fd int, name string, value []byte) error {
	return os.NewSyscallError("fsetxattr "+name, unix.Fsetxattr(fd, name, value, 0))
}

// Readlink returns a symbolic link's text.
func (d Dir) Readlink(name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(d.FD, name, buf)
	if err != nil {
		return "", os.NewSyscallError("readlinkat", err)
	}
	return string(buf[:n]), nil
}
