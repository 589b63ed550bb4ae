package mount

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestImage mounts the layers of an image without a place to write, whole and in part, and finds that links in it do
// not lead out.
func TestImage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	must(t, unix.Mount("layers", dir, "tmpfs", 0, ""))
	defer func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	one, two := filepath.Join(dir, "layers/1/fs"), filepath.Join(dir, "layers/2/fs")
	must(t, os.MkdirAll(filepath.Join(one, "etc/deep"), 0o755))
	must(t, os.MkdirAll(filepath.Join(two, "etc"), 0o755))
	must(t, os.WriteFile(filepath.Join(one, "etc/deep/file"), []byte("one"), 0o600))
	must(t, os.WriteFile(filepath.Join(two, "etc/other"), []byte("two"), 0o600))
	must(t, os.Symlink("/etc/deep", filepath.Join(one, "link")))
	must(t, os.Symlink("../../../../../../..", filepath.Join(one, "out")))
	before := mountsIn(t, dir)
	for _, c := range []struct {
		name, sub, want string
		lower           []string
	}{
		{"one layer", "", "etc/deep/file", []string{one}},
		{"two layers", "", "etc/other", []string{two, one}},
		{"a part", "etc", "deep/file", []string{two, one}},
		{"a part of one layer", "etc/deep", "file", []string{one}},
		{"through a link", "link", "file", []string{two, one}},
		{"a link that leads up", "out", "etc/deep/file", []string{two, one}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, err := Image(c.lower, c.sub, -1)
			must(t, err)
			defer unix.Close(fd)
			var st unix.Stat_t
			if err := unix.Fstatat(fd, c.want, &st, 0); err != nil {
				t.Errorf("%s: %v", c.want, err)
			}
			if err := unix.Mkdirat(fd, "new", 0o755); !errors.Is(err, unix.EROFS) {
				t.Errorf("a directory made in it: %v", err)
			}
		})
	}
	if _, err := Image([]string{two, one}, "nowhere", -1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part that is missing: %v", err)
	}
	if after := mountsIn(t, dir); after != before {
		t.Errorf("mounts before:\n%s\nafter:\n%s", before, after)
	}
}
