package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/thread"
)

// Overlay makes an overlay of absolute lower directories, top layer first, attached nowhere. Without upper it is
// read-only and wants two lower directories; attrs are MOUNT_ATTR_ bits. Each lower is handed over on its own
// ("lowerdir+", Linux 6.8), so that no number of layers meets a length limit; older kernels get one string.
func Overlay(lower []string, upper, work string, volatile bool, attrs int) (int, error) {
	return overlay(lower, upper, work, volatile, attrs, apart)
}

// overlay is Overlay; run is apart, or here for a caller that is apart already.
func overlay(lower []string, upper, work string, volatile bool, attrs int, run runner) (int, error) {
	var p []string
	for _, l := range lower {
		p = append(p, "lowerdir+="+l)
	}
	fd, err := FS("overlay", "overlay", append(p, upperOptions(upper, work, volatile)...), attrs)
	if err == nil {
		return fd, nil
	}
	fd, old := overlayInOneString(lower, upperOptions(escapePath.Replace(upper), escapePath.Replace(work), volatile), attrs, run)
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
func overlayInOneString(lower, top []string, attrs int, run runner) (int, error) {
	dir, names := shareDir(lower)
	options := strings.Join(append([]string{"lowerdir=" + strings.Join(names, ":")}, top...), ",")
	if len(options) > optionBytes {
		return -1, fmt.Errorf("mounting overlay: %d layers take %d bytes, mount takes %d", len(lower), len(options), optionBytes)
	}
	return run(func() (int, error) {
		return mountOptions(dir, lower[len(lower)-1], options, attrs)
	})
}

// MappedOverlay makes an overlay whose lower directories show other owners: those that userNS, a user namespace with
// mappings, gives the ones on disk (id-mapped layers, Linux 5.19). One id-mapped mount of the directory that they share
// serves them all. Upper and work belong to the container's root already.
func MappedOverlay(lower []string, upper, work string, volatile bool, attrs, userNS int) (int, error) {
	dir, _ := shareDir(lower)
	return apart(func() (int, error) {
		// Upper and work may lie below the same directory, and must not be seen through the mapping.
		for _, p := range []*string{&upper, &work} {
			if *p == "" {
				continue
			}
			fd, err := unix.Open(*p, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return -1, &os.PathError{Op: "open", Path: *p, Err: err}
			}
			defer unix.Close(fd)
			*p = "/proc/self/fd/" + strconv.Itoa(fd)
		}
		if err := cover(dir, userNS); err != nil {
			return -1, fmt.Errorf("mapping the ids of layers in %s: %w", dir, err)
		}
		return overlay(lower, upper, work, volatile, attrs, here)
	})
}

// cover puts an id-mapped mount of a directory onto itself.
func cover(dir string, userNS int) error {
	fd, err := Clone(unix.AT_FDCWD, dir, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := SetAttr(fd, Attr{Set: unix.MOUNT_ATTR_IDMAP, UserNS: userNS}, false); err != nil {
		return err
	}
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(at)
	return Attach(fd, at)
}

// runner runs what needs a mount namespace of its own.
type runner func(f func() (int, error)) (int, error)

func here(f func() (int, error)) (int, error) { return f() }

// apart runs f on a thread in a mount namespace of its own, which nobody else sees and which goes with the thread.
// A mount that is attached nowhere outlives it.
func apart(f func() (int, error)) (int, error) {
	return thread.Apart(func() (int, error) {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return -1, os.NewSyscallError("unshare", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return -1, os.NewSyscallError("mount MS_PRIVATE", err)
		}
		return f()
	})
}

func mountOptions(dir, place, options string, attrs int) (int, error) {
	if err := unix.Chdir(dir); err != nil {
		return -1, &os.PathError{Op: "chdir", Path: dir, Err: err}
	}
	if err := unix.Mount("overlay", place, "overlay", 0, options); err != nil {
		return -1, fmt.Errorf("mounting overlay with options %s in %s: %w", options, dir, err)
	}
	fd, err := Clone(unix.AT_FDCWD, place, false)
	err = errors.Join(err, os.NewSyscallError("umount2", unix.Unmount(place, unix.MNT_DETACH)))
	if err == nil {
		err = SetAttr(fd, Attr{Set: uint64(attrs)}, false)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// escapePath makes a path one word of overlayfs' options.
var escapePath = strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`)

// shareDir returns the deepest directory above all paths, and their names below it, escaped as overlayfs wants them.
func shareDir(paths []string) (dir string, names []string) {
	dir = filepath.Dir(paths[0])
	for _, p := range paths[1:] {
		for dir != "/" && !strings.HasPrefix(p, dir+"/") {
			dir = filepath.Dir(dir)
		}
	}
	for _, p := range paths {
		names = append(names, escapePath.Replace(strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")))
	}
	return dir, names
}

// Image makes a read-only tree of an image's layers, top layer first, attached nowhere; sub is a path in it, which may
// lead through links but not out of it, and "" for all of it. With userNS >= 0 it shows the owners that this user
// namespace gives those on disk (see MappedOverlay). An overlay wants two layers; one alone is bound as it is.
func Image(lower []string, sub string, userNS int) (int, error) {
	return apart(func() (int, error) {
		tree, err := layerTree(lower, userNS)
		if err != nil || sub == "" {
			return tree, err
		}
		defer unix.Close(tree)
		// Only what is attached can be cloned in part before Linux 6.15.
		at, err := unix.Open(lower[0], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: lower[0], Err: err}
		}
		defer unix.Close(at)
		if err := Attach(tree, at); err != nil {
			return -1, err
		}
		place, err := Root{FD: tree}.Path(sub)
		if err != nil {
			return -1, err
		}
		defer unix.Close(place)
		return Clone(place, "", false)
	})
}

// layerTree runs in a mount namespace of its own.
func layerTree(lower []string, userNS int) (int, error) {
	if userNS >= 0 {
		dir, _ := shareDir(lower)
		if err := cover(dir, userNS); err != nil {
			return -1, fmt.Errorf("mapping the ids of layers in %s: %w", dir, err)
		}
	}
	if len(lower) > 1 {
		return overlay(lower, "", "", false, unix.MOUNT_ATTR_RDONLY, here)
	}
	fd, err := Clone(unix.AT_FDCWD, lower[0], false)
	if err != nil {
		return -1, err
	}
	if err := SetAttr(fd, Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
