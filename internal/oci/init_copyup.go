package oci

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyUp fills a new tmpfs with what lies below it ("tmpcopyup"). Everything goes by descriptors and no link is followed.
func (s *initState) copyUp(from, to int) error {
	src, err := unix.Openat(from, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	dst, err := unix.Openat(to, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(src)
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(dst)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err == nil {
		// A file system without modes or owners refuses; its files serve all the same.
		_ = unix.Fchmod(dst, st.Mode&0o7777)
		_ = unix.Fchown(dst, int(st.Uid), int(st.Gid))
	}
	return copyDir(src, dst)
}

// copyDir takes over src.
func copyDir(src, dst int) error {
	d := os.NewFile(uintptr(src), "copyup")
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := copyEntry(src, dst, n); err != nil {
			return err
		}
	}
	return nil
}

func copyEntry(src, dst int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = copySubdir(src, dst, name, &st)
	case unix.S_IFREG:
		err = copyFile(src, dst, name, &st)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, rerr := unix.Readlinkat(src, name, buf)
		if rerr != nil {
			return os.NewSyscallError("readlinkat", rerr)
		}
		err = unix.Symlinkat(string(buf[:n]), dst, name)
	default:
		err = unix.Mknodat(dst, name, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	return unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

func copySubdir(src, dst int, name string, st *unix.Stat_t) error {
	if err := unix.Mkdirat(dst, name, st.Mode&0o7777); err != nil {
		return os.NewSyscallError("mkdirat", err)
	}
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	s, err := unix.Openat(src, name, flags, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	d, err := unix.Openat(dst, name, flags, 0)
	if err != nil {
		unix.Close(s)
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(d)
	return copyDir(s, d)
}

func copyFile(src, dst int, name string, st *unix.Stat_t) error {
	s, err := unix.Openat(src, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	in := os.NewFile(uintptr(s), name)
	defer in.Close()
	d, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, st.Mode&0o7777)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	out := os.NewFile(uintptr(d), name)
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
