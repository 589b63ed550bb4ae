package mount

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenUp opens the way for the caller's mount namespace alone, and what lies at the way is there still.
func TestOpenUp(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	closed := filepath.Join(dir, "closed")
	deep := filepath.Join(closed, "open/closed too/deep")
	must(os.MkdirAll(deep, 0o711))
	must(os.Chmod(filepath.Join(closed, "open"), 0o711))
	must(os.Chmod(filepath.Dir(deep), 0o700))
	must(os.Chmod(closed, 0o700))
	must(os.WriteFile(filepath.Join(closed, "file"), []byte("text"), 0o600))
	must(os.Symlink("file", filepath.Join(closed, "link")))
	mode := func(path string) uint32 {
		t.Helper()
		var st unix.Stat_t
		must(unix.Stat(path, &st))
		return st.Mode & 0o777
	}
	_, err := apart(func() (int, error) {
		if err := OpenUp(deep); err != nil {
			return -1, err
		}
		for _, path := range []string{closed, filepath.Dir(deep)} {
			if m := mode(path); m != 0o711 {
				t.Errorf("%s has mode %o", path, m)
			}
		}
		if text, err := os.ReadFile(filepath.Join(closed, "link")); err != nil || string(text) != "text" {
			t.Errorf("the file through the link: %q, %v", text, err)
		}
		return 0, os.WriteFile(filepath.Join(deep, "new"), nil, 0o600)
	})
	must(err)
	if m := mode(closed); m != 0o700 {
		t.Errorf("others see mode %o", m)
	}
	must(unix.Access(filepath.Join(deep, "new"), unix.F_OK))
}
