package oci

import (
	"errors"
	"fmt"
	"os"
	"path"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/caps"
	"go.skiff.dev/skiff/internal/kernel/seccomp"
)

func (s *initState) syncHooks() error {
	if !s.wantSync {
		return nil
	}
	if err := s.up.send(msgSync, "", -1); err != nil {
		return os.NewSyscallError("sendmsg", err)
	}
	return s.up.await()
}

func (s *initState) reportReady() error {
	return os.NewSyscallError("sendmsg", s.up.send(msgReady, "", -1))
}

// waitStart blocks until someone connects to start.sock, or the parent goes on, unless that was said before. The caller must
// be root of init's user namespace's view or whoever could open the socket: it lies in a 0700 directory.
func (s *initState) waitStart() error {
	if s.straight {
		defer unix.Close(s.stateDir)
		return os.NewSyscallError("renameat", unix.Renameat(s.stateDir, nextFile, s.stateDir, recordFile))
	}
	if s.listen < 0 {
		return s.up.await()
	}
	// The parent has what it needs; a closed socket tells it so, even if it asks again.
	unix.Close(int(s.up))
	for {
		fd, _, err := unix.Accept4(s.listen, unix.SOCK_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			return os.NewSyscallError("accept4", err)
		}
		s.conn = fd
		s.up = childWire(fd)
		unix.Close(s.listen)
		return nil
	}
}

// prepareProcess does what still needs privileges or files that the container's user has not.
func (s *initState) prepareProcess() error {
	p := &s.process
	if err := s.setRlimits(func(resource int) bool { return resource != unix.RLIMIT_NOFILE }); err != nil {
		return err
	}
	if p.umask >= 0 {
		unix.Umask(p.umask)
	}
	if err := s.grantable(); err != nil {
		return err
	}
	s.reopenNull()
	s.ownStdio()
	s.addHome()
	return s.applyAttributes()
}

// grantable leaves out the capabilities that nobody here has to give: "Runtimes SHOULD NOT fail if the container
// configuration requests capabilities that cannot be granted" (runtime-spec config.md, "Linux Process"), but warn.
func (s *initState) grantable() error {
	p := &s.process
	if !p.hasCaps {
		return nil
	}
	_, have, _, err := caps.Current()
	if err != nil {
		return err
	}
	for _, name := range (caps.Set(p.effective|p.permitted|p.inheritable|p.ambient) &^ have).Names() {
		s.warn("process.capabilities: %s cannot be granted", name)
	}
	for _, set := range []*uint64{&p.effective, &p.permitted, &p.inheritable, &p.ambient} {
		*set &= uint64(have)
	}
	return nil
}

func (s *initState) setRlimits(which func(resource int) bool) error {
	for _, r := range s.process.rlimits {
		if which(r.resource) {
			if err := s.setRlimit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *initState) setRlimit(r rlimit) error {
	// syscall's Setrlimit, unlike a raw one, also makes Go forget the descriptor limit it would restore at execve.
	err := syscall.Setrlimit(r.resource, &syscall.Rlimit{Cur: r.soft, Max: r.hard})
	if err == syscall.EPERM && !r.mustRaise {
		s.warn("rlimit %d stays as it is: raising it needs CAP_SYS_RESOURCE", r.resource)
		return nil
	}
	if err != nil {
		return fmt.Errorf("process.rlimits: setrlimit %d to %d:%d: %w", r.resource, r.soft, r.hard, err)
	}
	return nil
}

// ownStdio gives the standard files to the container's user, so that it may open /dev/stdout again. Files that refuse,
// and devices, stay as they are.
func (s *initState) ownStdio() {
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Uid == s.process.uid || st.Mode&unix.S_IFMT == unix.S_IFCHR {
			continue
		}
		_ = unix.Fchown(fd, int(s.process.uid), -1)
	}
}

// becomeUser gives up everything the process shall not have, in the order in which each step still has the right to
// do its work: descriptors, bounding set, ids with capabilities kept, working directory, capabilities, no_new_privs,
// seccomp. Without no_new_privs loading a profile needs CAP_SYS_ADMIN, so it comes before that goes; as little as
// possible follows, because a profile may forbid what only we call (close_range, getcwd).
func (s *initState) becomeUser() error {
	p := &s.process
	early := !p.noNewPrivs && len(p.seccomp) > 0
	if err := s.closeOwn(); err != nil {
		return err
	}
	if err := s.keepFiles(); err != nil {
		return err
	}
	// A limit that suffices for the process may be too low for init, which opens no more files from here on.
	if err := s.setRlimits(func(resource int) bool { return resource == unix.RLIMIT_NOFILE }); err != nil {
		return err
	}
	if p.hasCaps {
		if err := caps.DropBounding(caps.Set(p.bounding)); err != nil {
			return err
		}
	}
	if p.hasCaps || early {
		if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl PR_SET_KEEPCAPS", err)
		}
	}
	// The directory may be one that only root can enter, as in runc; enterCwd says what is wrong if it is none.
	if p.cwd != "" {
		_ = unix.Chdir(p.cwd)
	}
	if err := s.setIDs(); err != nil {
		return err
	}
	if err := s.enterCwd(); err != nil {
		return err
	}
	if early {
		if err := s.loadEarly(); err != nil {
			return err
		}
	}
	if err := s.applyCaps(); err != nil {
		return err
	}
	if !p.noNewPrivs {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	return s.loadSeccomp()
}

// loadEarly gives a user other than root, who kept the permitted capabilities, their use for loading the profile. The
// process gets those of its configuration right after, or loses them all at execve when it has none.
func (s *initState) loadEarly() error {
	if s.process.uid != 0 {
		_, permitted, inheritable, err := caps.Current()
		if err != nil {
			return err
		}
		if err := caps.Apply(permitted, permitted, inheritable); err != nil {
			return err
		}
	}
	return s.loadSeccomp()
}

// loadSeccomp must be followed by as few calls as possible: each has to be allowed by the profile.
func (s *initState) loadSeccomp() error {
	p := &s.process
	if len(p.seccomp) == 0 {
		return nil
	}
	fd, err := seccomp.Load(p.seccomp, p.seccompFlags, p.seccompNotify)
	if err != nil || fd < 0 {
		return err
	}
	err = s.up.send(msgListener, "", fd)
	unix.Close(fd)
	return os.NewSyscallError("sendmsg", err)
}

// closeOwn closes the directories that only init needed, so that no path through /proc/self/fd leads anywhere when the
// working directory is entered. Numbers are given lowest first, so a long row of unused ones is the end.
func (s *initState) closeOwn() error {
	var st unix.Stat_t
	for fd, unused := s.fds, 0; unused < 64; fd++ {
		switch err := unix.Fstat(fd, &st); {
		case err == unix.EBADF:
			unused++
		case err != nil:
			return os.NewSyscallError("fstat", err)
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			unused = 0
			unix.Close(fd)
		}
	}
	return nil
}

// keepFiles lets the preserved descriptors through; all others close at execve, the socket to the parent among them,
// which is how the parent learns that execve happened.
func (s *initState) keepFiles() error {
	if err := unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return os.NewSyscallError("close_range", err)
	}
	for fd := 3; fd < s.fds; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl F_SETFD", err)
		}
	}
	return nil
}

func (s *initState) setIDs() error {
	p := &s.process
	if !p.keepGroups {
		var ptr unsafe.Pointer
		if len(p.groups) > 0 {
			ptr = unsafe.Pointer(&p.groups[0])
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(p.groups)), uintptr(ptr), 0); e != 0 {
			return fmt.Errorf("process.user.additionalGids: setgroups: %w", e)
		}
	}
	// Raw calls: Go's own would change every thread, and only this one lives on.
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(p.gid), uintptr(p.gid), uintptr(p.gid)); e != 0 {
		return fmt.Errorf("process.user.gid %d: setresgid: %w", p.gid, e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(p.uid), uintptr(p.uid), uintptr(p.uid)); e != 0 {
		return fmt.Errorf("process.user.uid %d: setresuid: %w", p.uid, e)
	}
	return nil
}

// enterCwd changes the directory as the container's user and makes sure that the result lies inside the root: a path
// through a leaked descriptor would not (CVE-2024-21626). getcwd says "(unreachable)" for what is outside.
func (s *initState) enterCwd() error {
	if s.process.cwd == "" {
		return nil
	}
	if err := unix.Chdir(s.process.cwd); err != nil && !(err == unix.EACCES && s.inCwd()) {
		return fmt.Errorf("process.cwd: chdir to cwd (%q) set in config.json failed: %w", s.process.cwd, err)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err == unix.ENOENT || err == nil && (n < 1 || buf[0] != '/') {
		return errors.New("process.cwd: current working directory is outside of container mount namespace root" +
			" -- possible container breakout detected")
	}
	return os.NewSyscallError("getcwd", err)
}

// inCwd tells whether the process is where it should be, for which it need not be allowed to go there.
func (s *initState) inCwd() bool {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	return err == nil && n > 1 && string(buf[:n-1]) == path.Clean(s.process.cwd)
}

func (s *initState) applyCaps() error {
	p := &s.process
	if !p.hasCaps {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 0, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_KEEPCAPS", err)
	}
	if err := caps.Apply(caps.Set(p.effective), caps.Set(p.permitted), caps.Set(p.inheritable)); err != nil {
		return fmt.Errorf("process.capabilities: %w", err)
	}
	refused, err := caps.Ambient(caps.Set(p.ambient))
	for _, name := range refused.Names() {
		s.warn("can't raise ambient capability %s: it has to be permitted and inheritable", name)
	}
	return err
}
