package mount

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLinksToNowhere makes mount targets in a root whose links lead to what is not there.
func TestLinksToNowhere(t *testing.T) {
	for name, c := range map[string]struct {
		links map[string]string // link: text
		dirs  []string
		ask   string
		made  string // inside the root; "": refused
		err   error
	}{
		"plain":                  {ask: "a/b/c", made: "a/b/c"},
		"relative link":          {links: map[string]string{"etc/resolv.conf": "../run/systemd/resolve/stub"}, dirs: []string{"etc"}, ask: "etc/resolv.conf", made: "run/systemd/resolve/stub"},
		"absolute link":          {links: map[string]string{"x": "/deep/er"}, ask: "x", made: "deep/er"},
		"out of the root":        {links: map[string]string{"x": "../../../../out"}, ask: "x", made: "out"},
		"link in the middle":     {links: map[string]string{"a": "/b/c"}, ask: "a/d", made: "b/c/d"},
		"link below a link":      {links: map[string]string{"a": "real/dir", "real/dir/x": "../y"}, dirs: []string{"real/dir"}, ask: "a/x", made: "real/y"},
		"chain":                  {links: map[string]string{"a": "b", "b": "c", "c": "d/e"}, ask: "a", made: "d/e"},
		"loop":                   {links: map[string]string{"a": "b", "b": "a"}, ask: "a", err: unix.ELOOP},
		"up from what is absent": {links: map[string]string{"a": "gone/../etc"}, ask: "a", err: unix.ENOENT},
		"file in the way":        {dirs: []string{"etc"}, ask: "file/x", err: unix.ENOTDIR},
	} {
		for _, kind := range []string{"directory", "file"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				dir := t.TempDir()
				root := filepath.Join(dir, "1/2/3/root") // room for what would climb out
				for _, d := range append([]string{"."}, c.dirs...) {
					must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
				}
				must(t, os.WriteFile(filepath.Join(root, "file"), nil, 0o600))
				for link, text := range c.links {
					must(t, os.Symlink(text, filepath.Join(root, link)))
				}
				fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				must(t, err)
				defer unix.Close(fd)
				make := Root{fd}.MkdirAll
				if kind == "file" {
					make = Root{fd}.File
				}
				got, err := make(c.ask, 0o755)
				if c.err != nil {
					if !errors.Is(err, c.err) {
						t.Fatalf("error %v, want %v", err, c.err)
					}
					return
				}
				must(t, err)
				defer unix.Close(got)
				var at, want unix.Stat_t
				must(t, unix.Fstat(got, &at))
				must(t, unix.Lstat(filepath.Join(root, c.made), &want))
				if at.Ino != want.Ino || IsDir(got) != (kind == "directory") {
					t.Errorf("it is not at %s, or no %s", c.made, kind)
				}
				if outside, _ := filepath.Glob(filepath.Join(dir, "1/2/3/*")); len(outside) != 1 {
					t.Errorf("made outside of the root: %v", outside)
				}
			})
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
