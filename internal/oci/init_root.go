package oci

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/internal/kernel/mount"
)

// attachRoot makes the new root a mount in the container's mount namespace, because pivot_root wants a mount point. It
// goes on top of "/": the one place that is certainly there and that the root of any user namespace can reach. Absolute
// paths still lead into the old root, since a process starts below what is mounted over its own root.
func (s *initState) attachRoot() error {
	if !s.newMounts {
		return s.openPlainRoot()
	}
	// Nothing that is mounted below may travel to the host; what rootfsPropagation asks for is set at the end.
	prop := uintptr(unix.MS_SLAVE)
	if s.rootProp&unix.MS_PRIVATE != 0 {
		prop = unix.MS_PRIVATE
	}
	if err := unix.Mount("", "/", "", prop|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("setting the propagation of /: %w", err)
	}
	fd := s.rootFD
	if fd < 0 {
		var attrs int
		if s.overlay.readonly && s.overlay.upper == "" {
			attrs = unix.MOUNT_ATTR_RDONLY
		}
		var err error
		fd, err = mount.Overlay(s.overlay.lower, s.overlay.upper, s.overlay.work, s.overlay.volatile, attrs)
		if err != nil {
			return err
		}
	}
	at, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/", Err: err}
	}
	defer unix.Close(at)
	if err := mount.Attach(fd, at); err != nil {
		return err
	}
	s.root = fd
	return nil
}

// openPlainRoot is for a container in its caller's mount namespace: nothing may be mounted, only the root changes.
func (s *initState) openPlainRoot() error {
	s.root = s.rootFD
	if s.root < 0 {
		return fmt.Errorf("an overlay root needs a mount namespace of its own")
	}
	return nil
}

func (s *initState) changeRoot() error {
	if !s.newMounts || s.noPivot {
		if err := unix.Fchdir(s.root); err != nil {
			return os.NewSyscallError("fchdir", err)
		}
		if s.newMounts {
			// Without pivot_root the old tree stays mounted; put the new one over it so that chroot's way out leads here.
			if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
				return os.NewSyscallError("mount MS_MOVE", err)
			}
		}
		if err := unix.Chroot("."); err != nil {
			return os.NewSyscallError("chroot", err)
		}
		return os.NewSyscallError("chdir", unix.Chdir("/"))
	}
	return mount.Pivot(s.root)
}

// finishRoot comes after everything that is mounted or written in the root. What led to its parts is closed here: a
// container that is created and waits for its start holds nothing that leads anywhere but to its root.
func (s *initState) finishRoot() error {
	for _, fd := range []int{s.null.fd, s.empty.fd, s.proc, s.devpts} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if s.newMounts && s.rootProp != 0 {
		if err := unix.Mount("", "/", "", uintptr(s.rootProp), ""); err != nil {
			return fmt.Errorf("setting the propagation of the root: %w", err)
		}
	}
	for _, fd := range s.late {
		if err := mount.SetAttr(fd, mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
			return err
		}
		unix.Close(fd)
	}
	if s.newMounts {
		s.makeCwd()
	}
	if s.readonlyFS && s.newMounts {
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
