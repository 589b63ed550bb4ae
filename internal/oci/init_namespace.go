package oci

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/namespace"
)

func (s *initState) enterNamespaces() error {
	for _, j := range s.joins {
		if err := namespace.Enter(j.fd, uintptr(j.flag)); err != nil {
			return err
		}
		unix.Close(j.fd)
	}
	if s.unshare == 0 {
		return nil
	}
	return os.NewSyscallError("unshare", unix.Unshare(int(s.unshare)))
}

func (s *initState) newSession() error {
	if _, err := unix.Setsid(); err != nil && err != unix.EPERM { // EPERM: it leads its group already
		return os.NewSyscallError("setsid", err)
	}
	if s.process.newKeyring {
		return s.joinKeyring()
	}
	return nil
}

// joinKeyring gives the container a session keyring of its own, so that it cannot read the caller's keys. Kernels
// without keyrings and seccomp profiles around us that forbid the call leave nothing to share either.
func (s *initState) joinKeyring() error {
	_, err := unix.KeyctlJoinSessionKeyring(s.process.keyring)
	if err != nil && err != unix.ENOSYS && err != unix.EPERM && err != unix.EDQUOT {
		return os.NewSyscallError("keyctl KEYCTL_JOIN_SESSION_KEYRING", err)
	}
	if err != nil && err != unix.ENOSYS {
		s.warn("session keyring stays the caller's: %v", err)
	}
	return nil
}

func (s *initState) setHostname() error {
	if s.hasHost {
		if err := unix.Sethostname([]byte(s.hostname)); err != nil {
			return fmt.Errorf("sethostname %q: %w", s.hostname, err)
		}
	}
	if s.hasDomain {
		if err := unix.Setdomainname([]byte(s.domainname)); err != nil {
			return fmt.Errorf("setdomainname %q: %w", s.domainname, err)
		}
	}
	return nil
}

// raiseLoopback sets lo up in a network namespace that was made for this container.
func (s *initState) raiseLoopback() error {
	if !s.newNet {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == unix.EAFNOSUPPORT {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req))
}
