package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestManyLayers mounts as many layers as an image may have, in both forms, and finds a file of each.
func TestManyLayers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	// Overlay on overlay, as some machines have it for their temporary directory, is another matter.
	dir := t.TempDir()
	must(t, unix.Mount("layers", dir, "tmpfs", 0, ""))
	defer func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	var lower []string
	for i := range 128 {
		l := filepath.Join(dir, "var/lib/skiff/images/layers", fmt.Sprint(127-i), "fs")
		must(t, os.MkdirAll(l, 0o755))
		must(t, os.WriteFile(filepath.Join(l, fmt.Sprint(i)), nil, 0o600))
		lower = append(lower, l)
	}
	upper, work := filepath.Join(dir, "c,1/upper"), filepath.Join(dir, "c,1/work")
	must(t, os.MkdirAll(upper, 0o755))
	must(t, os.MkdirAll(work, 0o755))
	before := mountsIn(t, dir)
	for name, make := range map[string]func() (int, error){
		"Overlay":   func() (int, error) { return Overlay(lower, upper, work, false, unix.MOUNT_ATTR_NODEV) },
		"read-only": func() (int, error) { return Overlay(lower, "", "", false, unix.MOUNT_ATTR_RDONLY) },
		"in one string": func() (int, error) {
			return overlayInOneString(lower, []string{`upperdir=` + filepath.Join(dir, `c\,1/upper`), `workdir=` + filepath.Join(dir, `c\,1/work`)}, unix.MOUNT_ATTR_NODEV, apart)
		},
		"read-only in one string": func() (int, error) { return overlayInOneString(lower, nil, unix.MOUNT_ATTR_RDONLY, apart) },
	} {
		t.Run(name, func(t *testing.T) {
			fd, err := make()
			must(t, err)
			defer unix.Close(fd)
			for i := range 128 {
				var st unix.Stat_t
				if err := unix.Fstatat(fd, fmt.Sprint(i), &st, 0); err != nil {
					t.Fatalf("the file of layer %d: %v", i, err)
				}
			}
			var fs unix.Statfs_t
			must(t, unix.Fstatfs(fd, &fs))
			if fs.Flags&(unix.ST_NODEV|unix.ST_RDONLY) == 0 {
				t.Errorf("flags %#x", fs.Flags)
			}
		})
	}
	if after := mountsIn(t, dir); after != before || strings.Count(after, "\n") != 1 {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
	if _, err := overlayInOneString(append(lower, lower...), []string{"upperdir=" + filepath.Join(dir, string(make([]byte, 3000)))}, 0, apart); err == nil {
		t.Error("options beyond a page were taken")
	}
}

// mountsIn lists this process's mounts in and below a directory; others' come and go.
func mountsIn(t *testing.T, dir string) string {
	t.Helper()
	all, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	var found strings.Builder
	for line := range strings.Lines(string(all)) {
		if strings.Contains(line, dir) {
			found.WriteString(line)
		}
	}
	return found.String()
}
