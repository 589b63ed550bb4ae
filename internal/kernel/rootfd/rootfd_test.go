//go:build linux

package rootfd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func open(t *testing.T) (*Root, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, dir
}

func TestLinksStayInside(t *testing.T) {
	r, dir := open(t)
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"abs": "/a/b", "up": "../../../a", "loop": "loop", "magic": "/proc/self/root"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"a/b": "a/b", "abs": "a/b", "up": "a", "up/b": "a/b", ".": "."} {
		d, err := r.OpenDir(name)
		if err != nil || d.Path != want {
			t.Errorf("%s: %q, %v; want %q", name, d.Path, err, want)
		}
	}
	for name, want := range map[string]error{"loop": unix.ELOOP, "magic": unix.ENOENT, "none": unix.ENOENT} {
		if _, err := r.OpenDir(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := r.OpenFile("abs"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("opening a link as file: %v", err)
	}
}

// A directory that was just used survives many others.
func TestCache(t *testing.T) {
	r, dir := open(t)
	for i := range 3 * maxCached {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 * maxCached {
		first, err := r.OpenDir("0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.OpenDir(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := first.Stat("."); err != nil {
			t.Fatalf("after %d others: %v", i, err)
		}
	}
	if len(r.cache) > maxCached || len(r.order) != len(r.cache) {
		t.Errorf("%d directories are open, %d in order", len(r.cache), len(r.order))
	}
}
