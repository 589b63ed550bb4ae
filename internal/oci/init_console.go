package oci

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// ptmxRdev is 5:2 (Documentation/admin-guide/devices.txt).
var ptmxRdev = unix.Mkdev(5, 2)

// openConsole makes the terminal from the container's own devpts, gives the master to the parent, and makes the slave
// the controlling terminal and the standard files. From the master on, everything happens by descriptor: a path below
// /dev/pts may be swapped by another container at any time (CVE-2025-52565).
func (s *initState) openConsole() error {
	p := &s.process
	if !p.terminal {
		return nil
	}
	master, err := s.openMaster()
	if err != nil {
		return err
	}
	defer unix.Close(master)
	slave, err := unlockPeer(master)
	if err != nil {
		return err
	}
	if err := p.shapeTerminal(slave); err != nil {
		return err
	}
	if err := unix.Fchown(slave, int(p.uid), -1); err != nil && err != unix.EINVAL {
		return os.NewSyscallError("fchown", err)
	}
	if p.console {
		if err := s.bindConsole(slave); err != nil {
			return fmt.Errorf("dev/console: %w", err)
		}
	}
	if err := s.up.send(msgConsole, "", master); err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	return takeTerminal(slave)
}

// shapeTerminal comes before anybody can write to it.
func (p *processPlan) shapeTerminal(slave int) error {
	if p.rows != 0 || p.cols != 0 {
		ws := unix.Winsize{Row: uint16(p.rows), Col: uint16(p.cols)}
		if err := unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, &ws); err != nil {
			return os.NewSyscallError("ioctl TIOCSWINSZ", err)
		}
	}
	if !p.plainLines {
		return nil
	}
	t, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		return os.NewSyscallError("ioctl TCGETS", err)
	}
	t.Oflag &^= unix.ONLCR
	return os.NewSyscallError("ioctl TCSETS", unix.IoctlSetTermios(slave, unix.TCSETS, t))
}

// openMaster opens ptmx of the container's devpts: of the mount made a moment ago, or in a running container of the
// one found there, which must be a devpts and its ptmx the true device.
func (s *initState) openMaster() (int, error) {
	if s.devpts >= 0 {
		fd, err := unix.Openat(s.devpts, "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		return fd, os.NewSyscallError("openat ptmx", err)
	}
	dir := mount.Root{FD: unix.AT_FDCWD}
	if !s.exec {
		dir = s.rootDir()
	}
	// Looked at first: merely opening a device that someone put there could do harm.
	fd, err := dir.Open("/dev/pts/ptmx", unix.O_PATH, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return -1, err
	}
	err = checkMaster(fd)
	unix.Close(fd)
	if err != nil {
		return -1, err
	}
	if fd, err = dir.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, unix.RESOLVE_NO_SYMLINKS); err != nil {
		return -1, err
	}
	return fd, checkMaster(fd)
}

func checkMaster(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if mount.Magic(fd) != unix.DEVPTS_SUPER_MAGIC || st.Rdev != ptmxRdev {
		return errors.New("/dev/pts/ptmx is not a terminal multiplexer")
	}
	return nil
}

func unlockPeer(master int) (int, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, os.NewSyscallError("ioctl TIOCSPTLCK", err)
	}
	fd, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if e != 0 {
		return -1, os.NewSyscallError("ioctl TIOCGPTPEER", e)
	}
	return int(fd), nil
}

// bindConsole puts the terminal on /dev/console. No link is followed: through one of the image it would lie on some
// other file, of /proc for example, and cover it (CVE-2025-52565).
func (s *initState) bindConsole(slave int) error {
	dir, err := s.deviceDir("/dev/console")
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	tree, err := mount.Clone(slave, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return bindDevice(dir, "console", tree)
}

func takeTerminal(slave int) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(slave), unix.TIOCSCTTY, 0); e != 0 {
		return os.NewSyscallError("ioctl TIOCSCTTY", e)
	}
	for fd := range 3 {
		if err := unix.Dup3(slave, fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return unix.Close(slave)
}
