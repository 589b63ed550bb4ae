package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Overlay makes an overlay of absolute lower directories, top layer first, attached nowhere. Without upper it is
// read-only and wants two lower directories; attrs are MOUNT_ATTR_ bits. Each lower is handed over on its own
// ("lowerdir+", Linux 6.8), so that no number of layers meets a length limit; older kernels get one string.
func Overlay(lower []string, upper, work string, volatile bool, attrs int) (int, error) {
	var p []string
	for _, l := range lower {
		p = append(p, "lowerdir+="+l)
	}
	top := upperOptions(upper, work, volatile)
	fd, err := FS("overlay", "overlay", append(p, top...), attrs)
	if err == nil {
		return fd, nil
	}
	fd, old := overlayInOneString(lower, top, attrs)
	if old == nil {
		return fd, nil
	}
	return -1, fmt.Errorf("%w; in the form for kernels before 6.8: %w", err, old)
}

func upperOptions(upper, work string, volatile bool) []string {
	if upper == "" {
		return nil
	}
	p := []string{"upperdir=" + upper, "workdir=" + work}
	if volatile {
		p = append(p, "volatile")
	}
	return p
}

// optionBytes is what mount(2) takes: a page with a zero at its end (fs/namespace.c, copy_mount_options).
const optionBytes = 4095

// overlayInOneString is the form that every kernel knows. fsconfig takes at most 255 bytes in one string (fs/fsopen.c),
// which is seven layers; mount(2) takes a page, which is more than a hundred when their names are relative to the
// directory they share. mount(2) wants a place: the last lower directory, covered in a mount namespace that nobody
// else sees and that goes with the thread that made it; a copy of the mount stays.
func overlayInOneString(lower, top []string, attrs int) (int, error) {
	dir, names := shareDir(lower)
	options := strings.Join(append([]string{"lowerdir=" + strings.Join(names, ":")}, top...), ",")
	if len(options) > optionBytes {
		return -1, fmt.Errorf("mounting overlay: %d layers take %d bytes, mount takes %d", len(lower), len(options), optionBytes)
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with this goroutine
		fd, err := mountApart(dir, lower[len(lower)-1], options)
		done <- result{fd, err}
	}()
	r := <-done
	if r.err != nil {
		return -1, r.err
	}
	if err := SetAttr(r.fd, Attr{Set: uint64(attrs)}, false); err != nil {
		unix.Close(r.fd)
		return -1, err
	}
	return r.fd, nil
}

// mountApart leaves the thread where it was: Go cannot end a process's first thread, and that is the one which /proc/PID
// shows.
func mountApart(dir, place, options string) (fd int, err error) {
	home, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/proc/thread-self/ns/mnt", Err: err}
	}
	defer unix.Close(home)
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return -1, os.NewSyscallError("unshare", err)
	}
	defer func() { err = errors.Join(err, os.NewSyscallError("setns", unix.Setns(home, unix.CLONE_NEWNS))) }()
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return -1, os.NewSyscallError("mount MS_PRIVATE", err)
	}
	if err := unix.Chdir(dir); err != nil {
		return -1, &os.PathError{Op: "chdir", Path: dir, Err: err}
	}
	if err := unix.Mount("overlay", place, "overlay", 0, options); err != nil {
		return -1, fmt.Errorf("mounting overlay with options %s in %s: %w", options, dir, err)
	}
	fd, err = Clone(unix.AT_FDCWD, place, false)
	return fd, errors.Join(err, os.NewSyscallError("umount2", unix.Unmount(place, unix.MNT_DETACH)))
}

// shareDir returns the deepest directory above all paths, and their names below it, escaped as overlayfs wants them.
func shareDir(paths []string) (dir string, names []string) {
	dir = filepath.Dir(paths[0])
	for _, p := range paths[1:] {
		for dir != "/" && !strings.HasPrefix(p, dir+"/") {
			dir = filepath.Dir(dir)
		}
	}
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`)
	for _, p := range paths {
		names = append(names, escape.Replace(strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")))
	}
	return dir, names
}
