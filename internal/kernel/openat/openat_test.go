package openat

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What others rename meanwhile is nobody's error.
func TestRenamesMeanwhile(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "root/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	if err := os.Mkdir(one, 0o755); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if os.Rename(one, two) != nil || os.Rename(two, one) != nil {
				t.Error("renaming failed")
				return
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	root, err := unix.Open(filepath.Join(dir, "root"), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	name := strings.Repeat("a/../", 5) + "a" // a walk that lasted from one rename to the next would never succeed
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	again := 0
	for range 5000 {
		if fd, err := unix.Openat2(root, name, &how); err == nil {
			unix.Close(fd)
		} else {
			again++
		}
		fd, err := Open(root, name, &how)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
	}
	t.Logf("the kernel asked %d times to try again", again)
}
