package oci

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const allSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// SealedSelf returns this program in a form that nothing can write to: a sealed memfd. A container process that gets
// hold of init's /proc/PID/exe then holds a copy, never the host's file (CVE-2019-5736).
func SealedSelf() (*os.File, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	if seals, err := unix.FcntlInt(self.Fd(), unix.F_GET_SEALS, 0); err == nil && seals&allSeals == allSeals {
		return self, nil
	}
	defer self.Close()
	return Seal("skiff-oci", self)
}

// Seal copies r into a memfd that can be executed and never be changed.
func Seal(name string, r io.Reader) (*os.File, error) {
	// MFD_EXEC is for machines whose vm.memfd_noexec defaults to no execution (Linux 6.3).
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("making a sealed copy of %s: memfd_create: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return nil, fmt.Errorf("making a sealed copy of %s: %w", name, err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, allSeals); err != nil {
		f.Close()
		return nil, fmt.Errorf("making a sealed copy of %s: fcntl F_ADD_SEALS: %w", name, err)
	}
	return f, nil
}
