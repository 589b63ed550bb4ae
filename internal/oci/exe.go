package oci

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const allSeals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// SealedSelf returns this program in a form that nothing can write to: the sealed memfd it already runs from, or a
// sealed copy. A container process that gets hold of init's /proc/PID/exe then holds that form, never the host's file
// (CVE-2019-5736). Reading the file through an overlay without an upper layer is as safe, but taking that mount down
// waits for an RCU grace period, which costs more than the copy.
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
