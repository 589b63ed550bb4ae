//go:build linux

package rootfd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SyncFS writes out the whole file system of dir (syncfs, Linux 2.6.39): one
// call for the thousands of files of a layer.
func SyncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening %q: %w", dir, err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("syncfs %q: %w", dir, err)
	}
	return nil
}

// FreeBytes is what an unprivileged user may still write to dir's file system.
func FreeBytes(dir string) (int64, error) {
	_, free, err := Space(dir)
	return free, err
}

// Space is the size of dir's file system and what an unprivileged user may still write to it, in bytes.
func Space(dir string) (size, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %q: %w", dir, err)
	}
	return int64(st.Blocks) * int64(st.Bsize), int64(st.Bavail) * int64(st.Bsize), nil
}

// HasWriter says whether somebody has the file open for writing: a read lease
// is refused then (fcntl F_SETLEASE, Linux 2.4). File systems without leases
// say no.
func HasWriter(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}

// Lock takes an exclusive lock on an open file, which the kernel drops with
// the last descriptor. EWOULDBLOCK says that another one has it.
func Lock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return os.NewSyscallError("flock", err)
	}
	return nil
}
