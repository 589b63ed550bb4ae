package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/internal/kernel/mount"
)

// maxVolumeDepth bounds the directories below an image's volume.
const maxVolumeDepth = 256

// copyVolume fills a fresh directory with what the image has at a path. It goes
// by descriptors and follows no link, so that the node's files stay out.
func copyVolume(root int, inside, host string) error {
	if err := os.MkdirAll(host, 0o755); err != nil {
		return err
	}
	from, err := mount.Root{FD: root}.Open(inside, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	to, err := unix.Open(host, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(from)
		return err
	}
	return copyTree(os.NewFile(uintptr(from), inside), os.NewFile(uintptr(to), host), 0)
}

// copyTree copies the contents, owner and mode of one directory; it closes both.
func copyTree(from, to *os.File, depth int) error {
	defer from.Close()
	defer to.Close()
	if depth > maxVolumeDepth {
		return fmt.Errorf("directories are nested more than %d deep", maxVolumeDepth)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	for {
		names, err := from.Readdirnames(256)
		for _, name := range names {
			if err := copyEntry(from, to, name, depth); err != nil {
				return fmt.Errorf("copying %q: %w", filepath.Join(from.Name(), name), err)
			}
		}
		if errors.Is(err, io.EOF) || len(names) == 0 {
			break
		}
		if err != nil {
			return err
		}
	}
	return take(int(to.Fd()), st)
}

// take gives owner, then mode (a change of owner clears set-user-id).
func take(fd int, st unix.Stat_t) error {
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return unix.Fchmod(fd, st.Mode&0o7777)
}

func copyEntry(from, to *os.File, name string, depth int) error {
	src, dst := int(from.Fd()), int(to.Fd())
	var st unix.Stat_t
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(src, name, buf)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(buf[:n]), dst, name); err != nil {
			return err
		}
		return unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	case unix.S_IFDIR:
		if err := unix.Mkdirat(dst, name, 0o700); err != nil {
			return err
		}
		const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		a, err := unix.Openat(src, name, flags, 0)
		if err != nil {
			return err
		}
		b, err := unix.Openat(dst, name, flags, 0)
		if err != nil {
			unix.Close(a)
			return err
		}
		return copyTree(os.NewFile(uintptr(a), name), os.NewFile(uintptr(b), name), depth+1)
	case unix.S_IFREG:
		return copyFile(src, dst, name, st)
	}
	return nil // devices, pipes and sockets are not for volumes
}

func copyFile(src, dst int, name string, st unix.Stat_t) error {
	a, err := unix.Openat(src, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(a), name)
	defer in.Close()
	b, err := unix.Openat(dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(b), name)
	_, err = io.Copy(out, in)
	return errors.Join(err, take(b, st), out.Close())
}
