package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenUp lets everybody pass through the directories that lead to dir, in the caller's mount namespace alone, without a
// change to the directories: over each that is closed goes another one that shows what it holds at this moment. Who prepares
// a root in a user namespace walks there by its path, and is nobody in a directory of the host's root.
func OpenUp(dir string) error {
	for at := "/"; ; {
		var st unix.Stat_t
		if err := unix.Stat(at, &st); err != nil {
			return &os.PathError{Op: "stat", Path: at, Err: err}
		}
		if st.Mode&0o001 == 0 {
			if err := open(at); err != nil {
				return fmt.Errorf("making %q passable: %w", at, err)
			}
		}
		rest, err := filepath.Rel(at, dir)
		if err != nil || rest == "." {
			return err
		}
		next, _, _ := strings.Cut(rest, "/")
		at = filepath.Join(at, next)
	}
}

// open covers a directory by one that shows the same and that everybody may pass through. Before Linux 6.15 nothing can be
// mounted in what is attached nowhere, so the cover comes first, and what it shows after it.
func open(dir string) error {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(at)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	cover, err := FS("tmpfs", "passage", []string{"mode=0711", "size=1m"}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return err
	}
	defer unix.Close(cover)
	shown := map[string]int{}
	defer func() {
		for _, fd := range shown {
			unix.Close(fd)
		}
	}()
	for _, e := range entries {
		fd, err := makePlace(cover, at, e)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // gone meanwhile
			return err
		}
		if fd >= 0 {
			shown[e.Name()] = fd
		}
	}
	if err := Attach(cover, at); err != nil {
		return err
	}
	for name, fd := range shown {
		if err := show(fd, cover, name); err != nil {
			return err
		}
	}
	return nil
}

// makePlace makes the place in the cover for what the directory from has, and returns a copy of that; of a link it makes
// another one and returns -1.
func makePlace(cover, from int, e os.DirEntry) (int, error) {
	place := fmt.Sprintf("/proc/self/fd/%d/%s", cover, e.Name())
	if e.Type()&os.ModeSymlink != 0 {
		target, err := readlinkat(from, e.Name())
		if err != nil {
			return -1, err
		}
		return -1, os.Symlink(target, place)
	}
	fd, err := Clone(from, e.Name(), true)
	if err != nil {
		return -1, err
	}
	if e.IsDir() {
		err = os.Mkdir(place, 0o700)
	} else {
		err = os.WriteFile(place, nil, 0o600)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func show(fd, cover int, name string) error {
	at, err := unix.Openat(cover, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "openat", Path: name, Err: err}
	}
	defer unix.Close(at)
	return Attach(fd, at)
}
