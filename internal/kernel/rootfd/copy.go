//go:build linux

package rootfd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// CopyOptions say what Copy makes of a tree.
type CopyOptions struct {
	// Choose, if set, is asked in each directory what of it is to be copied.
	Choose func(from Dir, names []string) (Choice, error)
	// Link gives files a further name instead of copying them: for trees that nobody writes to.
	Link bool
	// Plain leaves out devices, pipes and sockets.
	Plain bool
	// Owner translates the ids of users and groups; nil keeps them.
	Owner func(id uint32) int
	// Room, if set, is asked before size more bytes are written.
	Room func(size int64) error
}

// Choice is what becomes of a directory.
type Choice struct {
	// Names are copied, over what is there.
	Names []string
	// Remove is taken from the target first; Clear takes all.
	Remove []string
	Clear  bool
}

// Copy copies a tree into a directory: contents with their holes, hard links, owners, permissions, the attributes that
// an image may have, and times. Where the file system can share blocks, it does. No link is followed in either tree.
func Copy(ctx context.Context, from, to *Root, o CopyOptions) error {
	c := &copier{ctx: ctx, from: from, to: to, o: o, names: map[inode]string{}, clone: true}
	return c.dir(".")
}

type copier struct {
	ctx      context.Context
	from, to *Root
	o        CopyOptions
	// names are those of copied files that have more than one.
	names map[inode]string
	// clone says that the file systems have not refused to share blocks yet.
	clone bool
}

type inode struct{ dev, ino uint64 }

func (c *copier) dir(name string) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	from, err := c.from.OpenDir(name)
	if err != nil {
		return err
	}
	names, err := from.Names()
	if err != nil {
		return err
	}
	if c.o.Choose != nil {
		if names, err = c.choose(from, names); err != nil {
			return err
		}
	}
	for _, base := range names {
		if err := c.entry(name, base); err != nil {
			return fmt.Errorf("copying %q: %w", path.Join(name, base), err)
		}
	}
	return c.finishDir(name)
}

func (c *copier) choose(from Dir, names []string) ([]string, error) {
	choice, err := c.o.Choose(from, names)
	if err != nil {
		return nil, err
	}
	if choice.Clear {
		to, err := c.to.OpenDir(from.Path)
		if err != nil {
			return nil, err
		}
		if choice.Remove, err = to.Names(); err != nil {
			return nil, err
		}
	}
	for _, base := range choice.Remove {
		if err := c.remove(from.Path, base); err != nil {
			return nil, err
		}
	}
	return choice.Names, nil
}

func (c *copier) remove(dir, base string) error {
	to, err := c.to.OpenDir(dir)
	if err != nil {
		return err
	}
	defer c.to.Forget()
	return to.RemoveAll(base)
}

// finishDir gives a directory its attributes when all in it is made, as that changes its time.
func (c *copier) finishDir(name string) error {
	from, err := c.from.OpenDir(name)
	if err != nil {
		return err
	}
	to, err := c.to.OpenDir(name)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(from.FD, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if err := c.take(from.FD, to.FD, &st); err != nil {
		return err
	}
	return to.setTimes(".", &st)
}

func (c *copier) entry(dir, base string) error {
	from, err := c.from.OpenDir(dir)
	if err != nil {
		return err
	}
	st, err := from.Stat(base)
	if err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	to, err := c.free(dir, base, isDir)
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := to.Mkdir(base); err != nil && !errors.Is(err, unix.EEXIST) {
			return os.NewSyscallError("mkdirat", err)
		}
		return c.dir(path.Join(dir, base))
	case unix.S_IFREG:
		return c.regular(from, to, base, &st)
	case unix.S_IFLNK:
		return c.symlink(from, to, base, &st)
	}
	if c.o.Plain {
		return nil
	}
	return c.special(to, base, &st)
}

// free makes sure that the name can be made in the target: a directory may be there for a directory.
func (c *copier) free(dir, base string, isDir bool) (Dir, error) {
	to, err := c.to.OpenDir(dir)
	if err != nil {
		return to, err
	}
	st, err := to.Stat(base)
	if errors.Is(err, unix.ENOENT) || err == nil && isDir && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return to, nil
	}
	if err != nil {
		return to, os.NewSyscallError("fstatat", err)
	}
	if err := c.remove(dir, base); err != nil {
		return to, err
	}
	return c.to.OpenDir(dir)
}

func (c *copier) symlink(from, to Dir, base string, st *unix.Stat_t) error {
	target, err := from.Readlink(base)
	if err != nil {
		return err
	}
	if err := to.Symlink(target, base); err != nil {
		return os.NewSyscallError("symlinkat", err)
	}
	uid, gid := c.owner(st)
	if err := to.Chown(base, uid, gid); err != nil {
		return os.NewSyscallError("fchownat", err)
	}
	return to.setTimes(base, st)
}

func (c *copier) special(to Dir, base string, st *unix.Stat_t) error {
	uid, gid := c.owner(st)
	if err := to.Mknod(base, st.Mode&unix.S_IFMT, st.Rdev); err != nil {
		return os.NewSyscallError("mknodat", err)
	}
	if err := to.Chown(base, uid, gid); err != nil {
		return os.NewSyscallError("fchownat", err)
	}
	if err := to.Chmod(base, st.Mode&0o7777); err != nil {
		return os.NewSyscallError("chmod", err)
	}
	return to.setTimes(base, st)
}

// regular makes a name of a file: the first one a copy, further ones links to it.
func (c *copier) regular(from, to Dir, base string, st *unix.Stat_t) error {
	if c.o.Link {
		err := to.Link(from, base, base)
		// Another file system, one without links, or a file that has as many as it can.
		if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EMLINK) {
			return os.NewSyscallError("linkat", err)
		}
	}
	id := inode{uint64(st.Dev), st.Ino}
	if first, ok := c.names[id]; ok {
		at, err := c.to.OpenDir(path.Dir(first))
		if err != nil {
			return err
		}
		err = to.Link(at, path.Base(first), base)
		if err == nil || !errors.Is(err, unix.EMLINK) {
			return os.NewSyscallError("linkat", err)
		}
	}
	if st.Nlink > 1 {
		c.names[id] = path.Join(from.Path, base)
	}
	return c.file(from, to, base, st)
}

func (c *copier) file(from, to Dir, base string, st *unix.Stat_t) error {
	if c.o.Room != nil {
		if err := c.o.Room(st.Blocks * 512); err != nil {
			return err
		}
	}
	a, err := ignoringEINTR(func() (int, error) {
		return unix.Openat(from.FD, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	in := os.NewFile(uintptr(a), base)
	defer in.Close()
	b, err := to.Create(base)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	out := os.NewFile(uintptr(b), base)
	defer out.Close()
	if err := c.content(in, out, st.Size); err != nil {
		return err
	}
	if err := c.take(a, b, st); err != nil {
		return err
	}
	if err := to.setTimes(base, st); err != nil {
		return err
	}
	return out.Close()
}

// content shares the blocks, or copies what is not a hole; os.File lets the kernel do that (copy_file_range).
func (c *copier) content(in, out *os.File, size int64) error {
	if size == 0 {
		return nil
	}
	if c.clone {
		if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
			return nil
		}
		c.clone = false
	}
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		if err := c.piece(in, out, data, min(hole, size)); err != nil {
			return err
		}
		at = hole
	}
	return out.Truncate(size)
}

// pieceBytes are copied between two looks at the context.
const pieceBytes = 64 << 20

func (c *copier) piece(in, out *os.File, at, end int64) error {
	if _, err := in.Seek(at, io.SeekStart); err != nil {
		return err
	}
	if _, err := out.Seek(at, io.SeekStart); err != nil {
		return err
	}
	for at < end {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		n, err := io.CopyN(out, in, min(pieceBytes, end-at))
		if err != nil {
			return err
		}
		at += n
	}
	return nil
}
