package oci

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// mountCgroups shows the container its own cgroup. Version 2 is one file system. Version 1 is a tmpfs with one
// directory per hierarchy, each the container's own directory of the host's mount; in a cgroup namespace that looks
// just like a mount of the hierarchy. Writable only if the configuration does not say "ro" (CVE-2023-25809).
func (s *initState) mountCgroups(m *mountPlan) error {
	if s.cgroupV2 {
		v2 := *m
		v2.fstype, v2.source, v2.params = "cgroup2", "cgroup", nil
		return s.mountFS(&v2)
	}
	at, err := s.mountpoint(m)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	top, err := mount.FS("tmpfs", "cgroup", []string{"mode=755"}, int(m.set&^unix.MOUNT_ATTR_RDONLY))
	if err != nil {
		return err
	}
	defer unix.Close(top)
	if err := mount.Attach(top, at); err != nil {
		return err
	}
	for _, h := range s.cgroups {
		if err := mountHierarchy(m, top, h); err != nil {
			return fmt.Errorf("%s: %w", h.key, err)
		}
	}
	return mount.SetAttr(top, mount.Attr{Set: m.set, Clear: m.clr}, false)
}

func mountHierarchy(m *mountPlan, top int, h pair) error {
	name := path.Base(h.key)
	if err := unix.Mkdirat(top, name, 0o755); err != nil {
		return err
	}
	at, err := unix.Openat(top, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	tree, err := mount.Clone(unix.AT_FDCWD, h.value, false)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := mount.SetAttr(tree, mount.Attr{Propagation: unix.MS_SLAVE}, false); err != nil {
		return err
	}
	if err := finishMount(&mountPlan{set: m.set, clr: m.clr, propagation: m.propagation}, tree, at); err != nil {
		return err
	}
	// "cpu,cpuacct" is also known by each of its names.
	if parts := strings.Split(name, ","); len(parts) > 1 {
		for _, p := range parts {
			if err := unix.Symlinkat(name, top, p); err != nil {
				return err
			}
		}
	}
	return nil
}
