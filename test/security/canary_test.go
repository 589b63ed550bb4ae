package security

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// canary is a small tree of the host that no attack may touch.
type canary struct {
	t      testing.TB
	dir    string
	before string
}

func newCanary(t testing.TB) *canary {
	t.Helper()
	c := &canary{t: t, dir: filepath.Join(t.TempDir(), "canary")}
	for _, d := range []string{"", "dir"} {
		if err := os.Mkdir(filepath.Join(c.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"file", "dir/file"} {
		if err := os.WriteFile(filepath.Join(c.dir, f), []byte("alive"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.before = c.look()
	return c
}

// up is the canary's place as a relative path from anywhere on the host.
func (c *canary) up(name string) string {
	return strings.Repeat("../", 24) + strings.TrimPrefix(filepath.Join(c.dir, name), "/")
}

// abs is its place as an absolute path.
func (c *canary) abs(name string) string { return filepath.Join(c.dir, name) }

// look describes everything about the tree that an attack could change.
func (c *canary) look() string {
	var b strings.Builder
	err := filepath.WalkDir(c.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		sum := ""
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		n, err := unix.Llistxattr(path, nil)
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, st.Mode, st.Uid, st.Gid, st.Nlink, st.Ino, st.Mtim, st.Ctim, n, sum)
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return b.String()
}

// check complains of any change.
func (c *canary) check(what string) {
	c.t.Helper()
	if now := c.look(); now != c.before {
		c.t.Errorf("%s: the host's files changed from\n%sto\n%s", what, c.before, now)
		c.before = now
	}
}

// mounted complains of mounts of this process's namespace that lie on the canary.
func (c *canary) mounted(what string) {
	c.t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		c.t.Fatal(err)
	}
	if strings.Contains(string(data), c.dir) {
		c.t.Errorf("%s: something is mounted on the host's files", what)
	}
}
