package oci

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/internal/kernel/mount"
)

const allSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// SealedSelf returns this program in a form that nothing can write to. A container process that gets hold of init's
// /proc/PID/exe then holds that form, never the host's file (CVE-2019-5736). It is, whichever comes first: the sealed
// memfd it already runs from; the file seen through an overlay that has no upper layer, which cannot be made writable
// by anyone and costs nothing; a sealed memfd with a copy. spare is any directory apart from the program's: an overlay
// wants two layers.
func SealedSelf(spare string) (*os.File, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	if seals, err := unix.FcntlInt(self.Fd(), unix.F_GET_SEALS, 0); err == nil && seals&allSeals == allSeals {
		return self, nil
	}
	defer self.Close()
	if f, err := overlaySelf(self, spare); err == nil {
		return f, nil
	}
	return Seal("skiff-oci", self)
}

// overlaySelf opens the program through a read-only overlay and makes sure that it is the same file.
func overlaySelf(self *os.File, spare string) (*os.File, error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	mnt, err := mount.Overlay([]string{filepath.Dir(path), spare}, "", "", false, unix.MOUNT_ATTR_RDONLY|
		unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return nil, err
	}
	defer unix.Close(mnt)
	fd, err := unix.Openat(mnt, filepath.Base(path), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	var a, b unix.Stat_t
	if err = unix.Fstat(fd, &a); err == nil {
		err = unix.Fstat(int(self.Fd()), &b)
	}
	if err != nil || a.Ino != b.Ino || a.Size != b.Size || a.Mtim != b.Mtim {
		f.Close()
		return nil, unix.ESTALE
	}
	return f, nil
}

// executableMemfd makes an empty memfd that may be executed and sealed. MFD_EXEC (Linux 6.3) is for machines whose
// vm.memfd_noexec forbids execution unless it is asked for; kernels before that do not know the flag.
func executableMemfd(name string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	return fd, err
}

// Seal copies r into a memfd that can be executed and never be changed.
func Seal(name string, r io.Reader) (*os.File, error) {
	fd, err := executableMemfd(name)
	if err != nil {
		return nil, fmt.Errorf("making a sealed copy of %s: memfd_create: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return nil, fmt.Errorf("making a sealed copy of %s: %w", name, err)
	}
	// Whoever may not read a program cannot trace it either from its first instruction on (fs/exec.c, would_dump): that
	// keeps the root of a user namespace away from init before init itself can.
	if err := f.Chmod(0o511); err != nil {
		f.Close()
		return nil, fmt.Errorf("making a sealed copy of %s: %w", name, err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, allSeals); err != nil {
		f.Close()
		return nil, fmt.Errorf("making a sealed copy of %s: fcntl F_ADD_SEALS: %w", name, err)
	}
	return f, nil
}
