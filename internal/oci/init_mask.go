package oci

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// openNull takes the null device for masking from the host's /dev, while that is still in reach, and looks at what it
// got: the container's own could be a link to a file worth writing to (CVE-2025-31133).
func (s *initState) openNull() error {
	s.null.fd, s.empty.fd = -1, -1
	if len(s.masked) == 0 {
		return nil
	}
	fd, err := mount.Clone(unix.AT_FDCWD, "/dev/null", false)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		return errors.New("the host's /dev/null is not the null device")
	}
	s.null.fd = fd
	return nil
}

// eachPlace calls cover with a descriptor of each path that is there.
func (s *initState) eachPlace(field string, paths []string, cover func(p string, at int) error) error {
	for _, p := range paths {
		at, err := s.rootDir().Path(p)
		if absent(err) {
			continue
		}
		if err == nil {
			err = cover(p, at)
			unix.Close(at)
		}
		if err != nil {
			return fmt.Errorf("linux.%s: %q: %w", field, p, err)
		}
	}
	return nil
}

// maskPaths covers directories with an empty read-only tmpfs and files with the null device.
func (s *initState) maskPaths() error { return s.eachPlace("maskedPaths", s.masked, s.maskPath) }

func (s *initState) maskPath(p string, at int) (err error) {
	c := &s.null
	if mount.IsDir(at) {
		c = &s.empty
		if c.fd < 0 {
			if c.fd, err = mount.FS("tmpfs", "tmpfs", []string{"size=0", "nr_inodes=2", "mode=555"}, unix.MOUNT_ATTR_RDONLY|
				unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC); err != nil {
				return err
			}
		}
	}
	if !c.used {
		c.used = true
		return s.cover(p, c.fd, at)
	}
	// The first one is attached by now; a copy of it serves the next place.
	tree, err := mount.Clone(c.fd, "", false)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return s.cover(p, tree, at)
}

// cover attaches tree at the place and then looks whether the path really leads there now.
func (s *initState) cover(p string, tree, at int) error {
	if err := mount.Attach(tree, at); err != nil {
		return err
	}
	now, err := s.rootDir().Path(p)
	if err != nil {
		return err
	}
	defer unix.Close(now)
	if mount.ID(now) != mount.ID(tree) {
		return errors.New("the path changed while it was covered")
	}
	return nil
}

// absent tells that there is nothing to hide or protect.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

// readonlyPaths covers each path with a read-only copy of itself.
func (s *initState) readonlyPaths() error {
	return s.eachPlace("readonlyPaths", s.readonly, s.readonlyPath)
}

func (s *initState) readonlyPath(p string, at int) error {
	tree, err := mount.Clone(at, "", true)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := mount.SetAttr(tree, mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, true); err != nil {
		return err
	}
	return s.cover(p, tree, at)
}

// setSysctls writes through a procfs that nobody else can see, so that no link or mount of the image is in the way.
func (s *initState) setSysctls() error {
	if len(s.sysctls) == 0 {
		return nil
	}
	fd, err := mount.FS("proc", "proc", nil, 0)
	if err != nil && s.proc >= 0 {
		fd, err = unix.Dup(s.proc) // a user namespace may be denied a second one
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, c := range s.sysctls {
		if err := mount.Write(fd, unix.PROC_SUPER_MAGIC, "sys/"+c.key, c.value); err != nil {
			return fmt.Errorf("linux.sysctl: %w", err)
		}
	}
	return nil
}
