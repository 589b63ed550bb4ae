package rootfd

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// RemoveDir is os.RemoveAll of a directory in which nothing but these files is expected: os.RemoveAll looks, which takes
// four times as many calls.
func RemoveDir(dir string, names ...string) error {
	for _, name := range names {
		_ = unix.Unlink(filepath.Join(dir, name))
	}
	if err := unix.Rmdir(dir); err == nil || err == unix.ENOENT {
		return nil
	}
	return os.RemoveAll(dir)
}
