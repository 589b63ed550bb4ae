package mount

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/openat"
)

// FS makes a new instance of a file system, attached nowhere. Params are "key=value" or a flag alone; attrs are
// MOUNT_ATTR_ bits. The error carries what the kernel wrote to the context's log.
func FS(fstype, source string, params []string, attrs int) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("opening file system %q: fsopen: %w", fstype, err)
	}
	defer unix.Close(fs)
	if source != "" {
		if err := unix.FsconfigSetString(fs, "source", source); err != nil {
			return -1, fsError(fs, fstype, "source="+source, err)
		}
	}
	if err := setParams(fs, fstype, params); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fsError(fs, fstype, "", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fsError(fs, fstype, "", err)
	}
	return fd, nil
}

func setParams(fs int, fstype string, params []string) (err error) {
	for _, p := range params {
		k, v, has := strings.Cut(p, "=")
		if has {
			err = unix.FsconfigSetString(fs, k, v)
		} else {
			err = unix.FsconfigSetFlag(fs, k)
		}
		if err != nil {
			return fsError(fs, fstype, p, err)
		}
	}
	return nil
}

// Reconfigure gives the file system that is mounted at fd other parameters.
func Reconfigure(fd int, fstype string, params []string) error {
	fs, err := unix.Fspick(fd, "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil { // it has to be the root of a mount
		return os.NewSyscallError("fspick", err)
	}
	defer unix.Close(fs)
	if len(params) == 0 {
		return nil
	}
	if err := setParams(fs, fstype, params); err != nil {
		return err
	}
	if err := unix.FsconfigReconfigure(fs); err != nil {
		return fsError(fs, fstype, "", err)
	}
	return nil
}

func fsError(fs int, fstype, param string, err error) error {
	buf := make([]byte, 512)
	var log []string
	for {
		n, rerr := unix.Read(fs, buf)
		if rerr != nil || n <= 0 {
			break
		}
		log = append(log, strings.TrimSpace(strings.TrimPrefix(string(buf[:n]), "e ")))
	}
	what := "mounting " + fstype
	if param != "" {
		what += " with option " + param
	}
	if len(log) > 0 {
		return fmt.Errorf("%s: %w (%s)", what, err, strings.Join(log, "; "))
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Clone makes a copy of the mount at path (an AT_FDCWD path of the caller), attached nowhere.
func Clone(dirfd int, p string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if p == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(dirfd, p, flags)
	if err != nil {
		return -1, &os.PathError{Op: "open_tree", Path: p, Err: err}
	}
	return fd, nil
}

// Attr is a change of a mount's flags; Set and Clear are MOUNT_ATTR_ bits, Propagation one of MS_SHARED, MS_SLAVE,
// MS_PRIVATE, MS_UNBINDABLE or 0.
type Attr struct {
	Set, Clear  uint64
	Propagation uint64
	UserNS      int // descriptor of the user namespace with MOUNT_ATTR_IDMAP
}

// Zero tells whether a changes nothing.
func (a Attr) Zero() bool { return a.Set == 0 && a.Clear == 0 && a.Propagation == 0 }

// SetAttr changes the mount of fd, and with recursive all below it.
func SetAttr(fd int, a Attr, recursive bool) error {
	if a.Zero() {
		return nil
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	m := unix.MountAttr{Attr_set: a.Set, Attr_clr: a.Clear, Propagation: a.Propagation, Userns_fd: uint64(a.UserNS)}
	return os.NewSyscallError("mount_setattr", unix.MountSetattr(fd, "", flags, &m))
}

// Attach puts the mount fd onto the place at.
func Attach(fd, at int) error {
	err := unix.MoveMount(fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	return os.NewSyscallError("move_mount", err)
}

// ID is the mount's number behind fd (statx STATX_MNT_ID, Linux 5.8), to see whether a place is a mount of its own.
func ID(fd int) uint64 {
	var st unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st) != nil {
		return 0
	}
	return st.Mnt_id
}

// Pivot makes the mount of fd the root of the calling process and drops the old root. The caller's mount namespace
// must be its own.
func Pivot(fd int) error {
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/", Err: err}
	}
	defer unix.Close(old)
	if err := unix.Fchdir(fd); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	// pivot_root(".", ".") stacks the old root on the new one (pivot_root(2)), but "." is still the new one: by a
	// mere "." the container's own mounts would be made slaves, and a shared one would no longer reach the host.
	if err := unix.PivotRoot(".", "."); err != nil {
		return os.NewSyscallError("pivot_root", err)
	}
	if err := unix.Fchdir(old); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	// Nothing that is unmounted here may travel back to the host.
	if err := unix.Mount("", ".", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return os.NewSyscallError("mount MS_SLAVE", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("umount2", err)
	}
	return os.NewSyscallError("chdir", unix.Chdir("/"))
}

// Write puts v into the file rel below the procfs (or another private file system) of fd. No link and no other mount
// lies on the way, and the file system is of the type wanted (CVE-2019-16884, CVE-2025-52881).
func Write(fd int, magic int64, rel, v string) error {
	how := unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV}
	f, err := openat.Open(fd, rel, &how)
	if err != nil {
		return &os.PathError{Op: "openat2", Path: rel, Err: err}
	}
	defer unix.Close(f)
	if Magic(f) != magic {
		return &os.PathError{Op: "checking file system of", Path: rel, Err: unix.EXDEV}
	}
	b := []byte(v)
	for {
		_, _, e := unix.Syscall(unix.SYS_WRITE, uintptr(f), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return &os.PathError{Op: "write", Path: rel, Err: e}
		}
		return nil
	}
}
