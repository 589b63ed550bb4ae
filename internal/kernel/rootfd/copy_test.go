//go:build linux

package rootfd

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func openTree(t *testing.T, dir string) *Root {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestCopy copies what a root file system is made of, for a user namespace.
func TestCopy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	from, to := t.TempDir(), t.TempDir()
	at := func(name string) string { return filepath.Join(from, name) }
	try(t, os.Mkdir(at("dir"), 0o700))
	try(t, os.WriteFile(at("dir/file"), []byte("content"), 0o644))
	try(t, os.Link(at("dir/file"), at("other")))
	try(t, os.Symlink("/etc/passwd", at("link")))
	try(t, unix.Mknod(at("device"), unix.S_IFCHR|0o620, int(unix.Mkdev(1, 3))))
	sparse, err := os.Create(at("sparse"))
	try(t, err)
	_, err = sparse.WriteAt([]byte("end"), 64<<20)
	try(t, errors.Join(err, sparse.Truncate(65<<20), sparse.Close()))
	try(t, os.Chown(at("dir/file"), 5, 70000))
	try(t, unix.Chmod(at("dir/file"), 0o4755))
	try(t, unix.Chmod(at("device"), 0o620))
	try(t, unix.Setxattr(at("dir/file"), "user.a", []byte("value"), 0))
	try(t, unix.Setxattr(at("dir"), "trusted.overlay.opaque", []byte("y"), 0))
	// A user and a group of their own, as setfacl writes them.
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 9, 0, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 8, 0, 4, 0, 8, 0, 0, 0, 16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255}
	hasACL := unix.Setxattr(at("other"), "system.posix_acl_access", acl, 0) == nil
	times := []unix.Timespec{{Sec: 1}, {Sec: 2, Nsec: 3}}
	for _, name := range []string{"link", "dir/file", "dir"} {
		try(t, unix.UtimesNanoAt(unix.AT_FDCWD, at(name), times, unix.AT_SYMLINK_NOFOLLOW))
	}
	owner := func(id uint32) int { return int(id) + 100000 }
	try(t, Copy(context.Background(), openTree(t, from), openTree(t, to), CopyOptions{Owner: owner}))

	stat := func(name string) (st unix.Stat_t) {
		t.Helper()
		try(t, unix.Lstat(filepath.Join(to, name), &st))
		return st
	}
	if st := stat("dir/file"); st.Uid != 100005 || st.Gid != 170000 || st.Mode&0o7777 != 0o4755 || st.Nlink != 2 || st.Ino != stat("other").Ino || st.Mtim != times[1] {
		t.Errorf("dir/file: %+v", st)
	}
	if st := stat("dir"); st.Mode&0o7777 != 0o700 || st.Mtim != times[1] {
		t.Errorf("dir: %+v", st)
	}
	if target, err := os.Readlink(filepath.Join(to, "link")); target != "/etc/passwd" || err != nil || stat("link").Uid != 100000 || stat("link").Mtim != times[1] {
		t.Errorf("link: %q %v", target, err)
	}
	if st := stat("device"); st.Rdev != unix.Mkdev(1, 3) || st.Mode != unix.S_IFCHR|0o620 {
		t.Errorf("device: %+v", st)
	}
	if st := stat("sparse"); st.Size != 65<<20 || st.Blocks > 64 {
		t.Errorf("sparse: %d bytes in %d blocks", st.Size, st.Blocks)
	}
	a, errA := os.ReadFile(at("sparse"))
	b, errB := os.ReadFile(filepath.Join(to, "sparse"))
	if !bytes.Equal(a, b) || errors.Join(errA, errB) != nil {
		t.Error("sparse: content differs")
	}
	value := make([]byte, 256)
	if n, err := unix.Getxattr(filepath.Join(to, "other"), "user.a", value); err != nil || string(value[:n]) != "value" {
		t.Errorf("attribute: %v", err)
	}
	if n, err := unix.Getxattr(filepath.Join(to, "dir"), "trusted.overlay.opaque", value); !errors.Is(err, unix.ENODATA) {
		t.Errorf("overlayfs's mark: %q %v", value[:max(n, 0)], err)
	}
	if hasACL {
		n, err := unix.Getxattr(filepath.Join(to, "other"), "system.posix_acl_access", value)
		if want := bytes.Replace(bytes.Replace(acl, []byte{9, 0, 0, 0}, []byte{0xa9, 0x86, 1, 0}, 1), []byte{4, 0, 8, 0, 0, 0}, []byte{4, 0, 0xa8, 0x86, 1, 0}, 1); err != nil || !bytes.Equal(value[:n], want) {
			t.Errorf("ACL %v, %v", value[:max(n, 0)], err)
		}
	}
}

// TestCopyOver merges a tree into another: entries replace what is there, links in the target are not followed, and a
// directory that is replaced is not used any more.
func TestCopyOver(t *testing.T) {
	from, to, out := t.TempDir(), t.TempDir(), t.TempDir()
	for _, name := range []string{"dir/deep", "was-link", "was-file"} {
		try(t, os.MkdirAll(filepath.Join(from, name), 0o755))
		try(t, os.WriteFile(filepath.Join(from, name, "new"), []byte("new"), 0o644))
	}
	try(t, os.WriteFile(filepath.Join(from, "was-dir"), []byte("file"), 0o644))
	try(t, os.MkdirAll(filepath.Join(to, "was-dir/x/y"), 0o755))
	try(t, os.MkdirAll(filepath.Join(to, "dir/deep/old"), 0o755))
	try(t, os.Symlink(out, filepath.Join(to, "was-link")))
	try(t, os.WriteFile(filepath.Join(to, "was-file"), nil, 0o644))
	try(t, os.WriteFile(filepath.Join(to, "cleared"), nil, 0o644))
	choose := func(d Dir, names []string) (Choice, error) {
		return Choice{Names: names, Remove: []string{"cleared", "absent"}, Clear: d.Path == "dir/deep"}, nil
	}
	try(t, Copy(context.Background(), openTree(t, from), openTree(t, to), CopyOptions{Choose: choose, Link: true}))
	for _, name := range []string{"dir/deep/new", "was-link/new", "was-file/new", "was-dir"} {
		if _, err := os.ReadFile(filepath.Join(to, name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"dir/deep/old", "cleared"} {
		if _, err := os.Lstat(filepath.Join(to, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
		t.Errorf("written through a link: %v %v", left, err)
	}
	full := func(int64) error { return unix.ENOSPC }
	if err := Copy(context.Background(), openTree(t, from), openTree(t, t.TempDir()), CopyOptions{Room: full}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("without room: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Copy(ctx, openTree(t, from), openTree(t, t.TempDir()), CopyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}
