//go:build linux

package rootfd

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Names lists the directory, in no order.
func (d Dir) Names() ([]string, error) {
	fd, err := d.OpenSub(".") // with an offset of its own
	if err != nil {
		return nil, os.NewSyscallError("openat", err)
	}
	f := os.NewFile(uintptr(fd), d.Path)
	defer f.Close()
	return f.Readdirnames(-1)
}

// RemoveAll removes a name and all below it; one that is not there is no error. If it was a directory, the Root must
// forget what it has open.
func (d Dir) RemoveAll(name string) error {
	err := d.Unlink(name)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) { // what POSIX wants for a directory
		return os.NewSyscallError("unlinkat", err)
	}
	root, err := os.OpenRoot(procFD(d.FD))
	if err != nil {
		return err
	}
	return errors.Join(root.RemoveAll(name), root.Close())
}

// Attrs reads the extended attributes of an open file or directory whose names keep takes. A file system without them
// has none.
func Attrs(fd int, keep func(name string) bool) (map[string][]byte, error) {
	size, err := unix.Flistxattr(fd, nil)
	if errors.Is(err, unix.ENOTSUP) || size == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("flistxattr", err)
	}
	buf := make([]byte, size)
	if size, err = unix.Flistxattr(fd, buf); err != nil {
		return nil, os.NewSyscallError("flistxattr", err)
	}
	all := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:size]), "\x00"), "\x00") {
		if name == "" || !keep(name) {
			continue
		}
		if all[name], err = attr(fd, name); err != nil {
			return nil, os.NewSyscallError("fgetxattr "+name, err)
		}
	}
	return all, nil
}

func attr(fd int, name string) ([]byte, error) {
	size, err := unix.Fgetxattr(fd, name, nil)
	if err != nil || size == 0 {
		return nil, err
	}
	value := make([]byte, size)
	size, err = unix.Fgetxattr(fd, name, value)
	return value[:max(size, 0)], err
}

// ImageAttr says which attributes an image may give its files: file capabilities, ACLs and the user's own. Never
// overlayfs's marks (trusted.overlay.*, user.overlay.*), nor labels and signatures of the machine that built the image.
func ImageAttr(name string) bool {
	if strings.HasPrefix(name, "user.") {
		return !strings.HasPrefix(name, "user.overlay.")
	}
	return name == "security.capability" || isACL(name)
}

func isACL(name string) bool {
	return name == "system.posix_acl_access" || name == "system.posix_acl_default"
}
