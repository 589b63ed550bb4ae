package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// secretLimit bounds the memory that the files of one volume may take.
const secretLimit = 16 << 20

// ensureMemory puts volumes with secrets into memory, so that they never reach
// the disk.
func (m *Manager) ensureMemory(_ *v1.Pod, v *v1.Volume, path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("making volume directory: %w", err)
	}
	if v.Secret == nil && v.Projected == nil {
		return nil
	}
	return mountFS(path, []string{"mode=0777", "size=" + strconv.Itoa(secretLimit)})
}

func mountMemory(path string, size int64) error { return mountFS(path, sizeOption(size)) }

// mountFS mounts a tmpfs at path, unless one is there.
func mountFS(path string, options []string) error {
	if mounted, err := mountinfo.Mounted(path); err != nil {
		return fmt.Errorf("examining mount %s: %w", path, err)
	} else if mounted {
		return nil
	}
	fd, err := mount.FS("tmpfs", "tmpfs", options, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return fmt.Errorf("making memory file system: %w", err)
	}
	defer unix.Close(fd)
	return attach(fd, path)
}

func attach(fd int, path string) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(at)
	if err := mount.Attach(fd, at); err != nil {
		return fmt.Errorf("mounting %s: %w", path, err)
	}
	return nil
}

// SubPath gives a path on the node at which a part of a volume is mounted. The
// part is found by descriptor inside the volume, so that no link in it leads
// out, and is then held by a mount: nothing that the pod exchanges later counts
// (CVE-2017-1002101, CVE-2021-25741). A missing part is made as a directory.
func (m *Manager) SubPath(pod *v1.Pod, v *v1.Volume, container string, index int, sub string) (string, error) {
	part, err := m.openSub(pod, v, sub)
	if err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", v.Name, container, err)
	}
	defer unix.Close(part)
	target := filepath.Join(m.Dir, string(pod.UID), "volume-subpaths", v.Name, container, strconv.Itoa(index))
	if err := m.freshTarget(target, mount.IsDir(part)); err != nil {
		return "", err
	}
	tree, err := mount.Clone(part, "", true)
	if err != nil {
		return "", fmt.Errorf("holding subPath of volume %q: %w", v.Name, err)
	}
	defer unix.Close(tree)
	return target, attach(tree, target)
}

func (m *Manager) openSub(pod *v1.Pod, v *v1.Volume, sub string) (int, error) {
	base, err := unix.Open(m.Path(string(pod.UID), v), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: v.Name, Err: err}
	}
	defer unix.Close(base)
	root := mount.Root{FD: base}
	fd, err := root.Path(sub)
	if errors.Is(err, fs.ErrNotExist) {
		fd, err = root.MkdirAll(sub, 0o750|0o005)
		if err == nil && v.EmptyDir != nil {
			err = openUp(fd)
		}
	}
	return fd, err
}

// openUp lets any user of the pod write to a directory that was made for it in
// a volume that any user may write to.
func openUp(fd int) error {
	return os.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o777)
}

// freshTarget makes the place for a sub path's mount; what an earlier start of
// the container left there is unmounted.
func (m *Manager) freshTarget(target string, dir bool) error {
	if err := unmountAll(target); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return fmt.Errorf("removing old sub path: %w", err)
	}
	if dir {
		return os.MkdirAll(target, 0o750)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return fmt.Errorf("making sub path: %w", err)
	}
	return os.WriteFile(target, nil, 0o640)
}

// Teardown unmounts and removes the volumes of a pod, and with all the pod's
// directory itself.
func (m *Manager) Teardown(uid string, all bool) error {
	dir := filepath.Join(m.Dir, uid)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := unmountBelow(dir); err != nil {
		return err
	}
	if all {
		return os.RemoveAll(dir)
	}
	return errors.Join(os.RemoveAll(filepath.Join(dir, "volumes")), os.RemoveAll(filepath.Join(dir, "volume-subpaths")))
}

// unmountBelow unmounts everything below dir, the deepest first. Nothing may be
// removed while a mount is left: removal would reach into it.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("listing mounts below %s: %w", dir, err)
	}
	for _, mount := range slices.Backward(mounts) {
		if err := unmountAll(mount.Mountpoint); err != nil {
			return err
		}
	}
	return nil
}

func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			return nil
		default:
			return &os.PathError{Op: "umount2", Path: path, Err: err}
		}
	}
}
