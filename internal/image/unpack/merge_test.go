//go:build linux

package unpack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// anyLayer makes a layer of entries and whiteouts at a few names, so that
// layers meet in all ways.
func anyLayer(r *rand.Rand, n int) []entry {
	var out []entry
	made := map[string]byte{}
	pick := func() string { return string("abc"[r.IntN(3)]) }
	for i := range 1 + r.IntN(10) {
		name := pick()
		for range r.IntN(3) {
			name = path.Join(name, pick())
		}
		// A parent that is a link would lead elsewhere, in every unpacker its own way.
		blocked := slices.ContainsFunc([]string{name, path.Dir(name), path.Dir(path.Dir(name))}, func(p string) bool { k, ok := made[p]; return ok && k != dir })
		if blocked || made[name] == dir {
			continue
		}
		e := entry{name: name, uid: n, mode: int64(0o600 + i)}
		switch r.IntN(6) {
		case 0:
			out = append(out, entry{name: path.Join(path.Dir(name), whiteoutPrefix+path.Base(name))})
			continue
		case 1:
			out = append(out, entry{name: path.Join(path.Dir(name), opaqueName)})
			continue
		case 2:
			e.kind, e.link = sym, "/somewhere"
		case 3, 4:
			e.kind, e.mode, e.xattr = dir, int64(0o700+n), map[string]string{"user.n": fmt.Sprint(n)}
		default:
			e.body = fmt.Sprint(n, i)
		}
		made[name] = e.kind
		if e.kind == 0 {
			made[name] = 'f'
		}
		for p := path.Dir(name); p != "."; p = path.Dir(p) {
			made[p] = dir
		}
		out = append(out, e)
	}
	return out
}

// picture lists a tree with all that a program can see of it.
func picture(t *testing.T, root string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); errors.Is(err, unix.ENOENT) {
			return nil // overlayfs lists a whiteout in a directory that no layer below has
		} else if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if rel == "." { // no tar has an entry for it, so its time is that of unpacking
			st.Mtim.Sec = 0
		}
		var content []byte
		value := make([]byte, 64)
		size := 0
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err = os.ReadFile(p)
		case unix.S_IFDIR:
			size, _ = unix.Getxattr(p, "user.n", value)
		}
		fmt.Fprintf(&out, "%s %o %d:%d %s %q %d\n", rel, st.Mode, st.Uid, st.Gid, content, value[:max(size, 0)], st.Mtim.Sec)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestMergeIsWhatOverlayShows lays random layers over each other by the
// kernel's overlayfs and by Merge, from both forms of layers.
func TestMergeIsWhatOverlayShows(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	disk := t.TempDir()
	if err := unix.Mount("disk", disk, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	for seed := range uint64(60) {
		compareMerge(t, filepath.Join(disk, fmt.Sprint(seed)), seed)
	}
}

func compareMerge(t *testing.T, disk string, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	var text []string
	forms := map[bool][]string{}
	for n := range 3 {
		entries := anyLayer(r, n)
		for _, e := range entries {
			text = append(text, fmt.Sprintf("%d: %s %c", n, e.name, max(e.kind, '0')))
		}
		data := pack(t, entries)
		for _, portable := range []bool{false, true} {
			layer := filepath.Join(disk, fmt.Sprint(portable, n))
			if err := os.MkdirAll(layer, 0o755); err != nil {
				t.Fatal(err)
			}
			opts := options(&bytes.Buffer{})
			opts.Portable = portable
			res, err := Layer(context.Background(), bytes.NewReader(data), layer, opts)
			if err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(text, "\n"))
			}
			if res.OpaqueRoot { // which overlayfs takes from who mounts
				forms[portable] = nil
			}
			forms[portable] = append(forms[portable], filepath.Join(layer, "fs"))
			checkReplay(t, data, layer, opts.Frame.(*bytes.Buffer), res)
		}
	}
	lower := slices.Clone(forms[false])
	slices.Reverse(lower)
	fd, err := mount.Image(lower, "", -1)
	if err != nil {
		t.Fatal(err)
	}
	want := picture(t, fmt.Sprintf("/proc/self/fd/%d/.", fd))
	unix.Close(fd)
	for portable, layers := range forms {
		merged := filepath.Join(disk, fmt.Sprint("merged", portable))
		if err := os.Mkdir(merged, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Merge(context.Background(), layers, merged, nil); err != nil {
			t.Fatal(err)
		}
		if got := picture(t, merged); got != want {
			t.Errorf("seed %d, portable %v: layers\n%s\nmerged\n%s\nwant\n%s", seed, portable, strings.Join(text, "\n"), got, want)
		}
	}
}

// TestPortableMarks keeps whiteouts in the tar's form, and lets no entry use
// them for anything else.
func TestPortableMarks(t *testing.T) {
	where := t.TempDir()
	opts := options(&bytes.Buffer{})
	opts.Portable = true
	data := pack(t, []entry{{name: "d/.wh.a"}, {name: "d/.wh..wh..opq"}, {name: "d/.wh..wh.plnk"}, {name: "d/a", body: "own"}})
	res, err := Layer(context.Background(), bytes.NewReader(data), where, opts)
	if err != nil || !res.Portable {
		t.Fatalf("%+v %v", res, err)
	}
	for name, want := range map[string]error{".wh.a": nil, ".wh..wh..opq": nil, ".wh..wh.plnk": syscall.ENOENT, "a": nil} {
		if err := syscall.Access(filepath.Join(where, "fs/d", name), 0); err != want { //nolint:errorlint // a number
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, entries := range map[string][]entry{
		"a link to a whiteout":   {{name: ".wh.a"}, {name: "b", kind: hard, link: ".wh.a"}},
		"a file in a whiteout":   {{name: ".wh.a"}, {name: ".wh.a/b"}},
		"a whiteout of the root": {{name: ".wh."}},
	} {
		opts := options(&bytes.Buffer{})
		opts.Portable = true
		if _, err := Layer(context.Background(), bytes.NewReader(pack(t, entries)), t.TempDir(), opts); err == nil {
			t.Errorf("%s was unpacked", name)
		}
	}
}
