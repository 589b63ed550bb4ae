package oci

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// attachRoot makes the new root a mount in the container's mount namespace, because pivot_root wants a mount point.
//
// It goes onto its own directory, where hooks look for it: createContainer hooks run in the container's namespaces with
// the host's paths. An overlay has no such directory, and root of a user namespace may not be allowed to go there; then
// it goes on top of "/", which is certainly there. Absolute paths still lead into the old root, since a process starts
// below what is mounted over its own root.
//
// In the mount namespace of the caller the mount is the host's, and stays there when the container is gone, like all that
// is mounted in it: that is what a configuration without a mount namespace asks for, and what runc does.
func (s *initState) attachRoot() error {
	if !s.hostMounts {
		// Nothing that is mounted below may travel to the host; what rootfsPropagation asks for is set at the end.
		prop := uintptr(unix.MS_SLAVE)
		if s.rootProp&unix.MS_PRIVATE != 0 {
			prop = unix.MS_PRIVATE
		}
		if err := unix.Mount("", "/", "", prop|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("setting the propagation of /: %w", err)
		}
	}
	if err := s.openLate(); err != nil {
		return err
	}
	fd, err := s.rootMount()
	if err != nil {
		return err
	}
	s.root = fd
	if at := s.ownPlace(); at >= 0 {
		defer unix.Close(at)
		return mount.Attach(fd, at)
	}
	if s.hostMounts {
		return fmt.Errorf("a root needs its own directory in the host's mount namespace")
	}
	s.rootPath = "/"
	at, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/", Err: err}
	}
	defer unix.Close(at)
	return mount.Attach(fd, at)
}

// openLate copies what the parent had no right to, before any path leads elsewhere. Nothing here has a peer any more.
func (s *initState) openLate() (err error) {
	for i := range s.mounts {
		if m := &s.mounts[i]; m.host != "" {
			if m.fd, err = mount.Clone(unix.AT_FDCWD, m.host, m.recursive); err != nil {
				return fmt.Errorf("mounts[%d].source: %w", i, err)
			}
		}
	}
	for i := range s.devices {
		if d := &s.devices[i]; d.late {
			if d.bindFD, err = mount.Clone(unix.AT_FDCWD, d.path, false); err != nil {
				return fmt.Errorf("device %q: %w", d.path, err)
			}
		}
	}
	return nil
}

// rootMount is the root as a mount that is attached nowhere.
func (s *initState) rootMount() (int, error) {
	if s.rootFD >= 0 {
		return s.rootFD, nil
	}
	if s.rootLate {
		return mount.Clone(unix.AT_FDCWD, s.rootPath, true)
	}
	var attrs int
	if s.overlay.readonly && s.overlay.upper == "" {
		attrs = unix.MOUNT_ATTR_RDONLY
	}
	return mount.Overlay(s.overlay.lower, s.overlay.upper, s.overlay.work, s.overlay.volatile, attrs)
}

// ownPlace opens the root's directory, or returns -1 where it cannot be reached or is not what the parent opened.
func (s *initState) ownPlace() int {
	if s.rootPath == "" {
		return -1
	}
	at, err := unix.Open(s.rootPath, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	var a, b unix.Stat_t
	if unix.Fstat(at, &a) != nil || unix.Fstat(s.root, &b) != nil || a.Ino != b.Ino || a.Dev != b.Dev {
		unix.Close(at)
		return -1
	}
	return at
}

func (s *initState) changeRoot() error {
	if !s.hostMounts && !s.noPivot {
		return mount.Pivot(s.root)
	}
	if !s.hostMounts {
		if err := s.leaveOldRoot(); err != nil {
			return err
		}
	}
	if err := unix.Fchdir(s.root); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if err := unix.Chroot("."); err != nil {
		return os.NewSyscallError("chroot", err)
	}
	return os.NewSyscallError("chdir", unix.Chdir("/"))
}

// leaveOldRoot does what can be done without pivot_root. The old tree stays mounted; the new one is put over it, so that
// chroot's way out leads here. An unmasked procfs or sysfs of the old tree must go: while one is in the mount namespace
// the kernel lets a user namespace mount another, without the container's masks.
func (s *initState) leaveOldRoot() error {
	if err := mount.DropBare(s.rootPath); err != nil {
		return err
	}
	if s.rootPath == "/" { // it lies over the old one already
		return nil
	}
	if err := unix.Fchdir(s.root); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	return os.NewSyscallError("mount MS_MOVE", unix.Mount(".", "/", "", unix.MS_MOVE, ""))
}

// finishRoot comes after everything that is mounted or written in the root. What led to its parts is closed here: a
// container that is created and waits for its start holds nothing that leads anywhere but to its root.
func (s *initState) finishRoot() error {
	for _, fd := range []int{s.null.fd, s.empty.fd, s.proc, s.devpts} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if s.rootProp != 0 {
		if err := mount.SetAttr(s.root, mount.Attr{Propagation: s.rootProp &^ unix.MS_REC}, s.rootProp&unix.MS_REC != 0); err != nil {
			return fmt.Errorf("setting the propagation of the root: %w", err)
		}
	}
	for _, fd := range s.late {
		if err := mount.SetAttr(fd, mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
			return err
		}
		unix.Close(fd)
	}
	s.makeCwd()
	if s.readonlyFS {
		return mount.SetAttr(s.root, mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false)
	}
	return nil
}

// makeCwd makes the process's directory if the image has none such, as runc does. What cannot be made here is for
// enterCwd to report.
func (s *initState) makeCwd() {
	if s.process.cwd == "" {
		return
	}
	if fd, err := (mount.Root{FD: s.root}).MkdirAll(s.process.cwd, 0o755); err == nil {
		unix.Close(fd)
	}
}
