//go:build linux

package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type entry struct {
	name, link, body string
	kind             byte
	mode             int64
	uid              int
	xattr            map[string]string
	major            int64
}

func pack(t testing.TB, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o755
		}
		hdr := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.body)),
			Uid: e.uid, ModTime: time.Unix(1e9, 0), Devmajor: e.major, PAXRecords: map[string]string{}}
		for k, v := range e.xattr {
			hdr.PAXRecords[paxXattr+k] = v
		}
		if err := tw.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	tw.Close()
	return buf.Bytes()
}

func options(frame *bytes.Buffer) Options {
	return Options{MaxEntries: 1000, MaxSparse: 1 << 30, MaxPath: 4096, MaxName: 255, MaxXattrs: 1 << 16,
		Room: func(int64) error { return nil }, Frame: frame}
}

const dir, sym, hard = tar.TypeDir, tar.TypeSymlink, tar.TypeLink

// Each hostile archive is refused or stays inside; the canary beside the layer
// never changes, and what was unpacked can be played back to the byte.
func TestHostile(t *testing.T) {
	up := "../../canary"
	for name, c := range map[string]struct {
		entries []entry
		refused bool
	}{
		"dotdot":                      {[]entry{{name: up, body: "x"}}, true},
		"dotdot inside":               {[]entry{{name: "a/../../../canary", body: "x"}}, true},
		"absolute":                    {[]entry{{name: "/canary", body: "x"}}, false},
		"file through link":           {[]entry{{name: "l", kind: sym, link: "../.."}, {name: "l/canary", body: "x"}}, false},
		"file through absolute link":  {[]entry{{name: "l", kind: sym, link: "/"}, {name: "l/canary", body: "x"}}, false},
		"file over link":              {[]entry{{name: "l", kind: sym, link: up}, {name: "l", body: "x"}}, false},
		"dir over link":               {[]entry{{name: "l", kind: sym, link: "../.."}, {name: "l/", kind: dir}, {name: "l/canary", body: "x"}}, false},
		"chain of links":              {[]entry{{name: "a", kind: sym, link: "b"}, {name: "b", kind: sym, link: "../../.."}, {name: "a/canary", body: "x"}}, false},
		"loop of links":               {[]entry{{name: "a", kind: sym, link: "b"}, {name: "b", kind: sym, link: "a"}, {name: "a/x", body: "x"}}, true},
		"dangling link":               {[]entry{{name: "lib", kind: sym, link: "usr/lib"}, {name: "lib/x", body: "x"}}, false},
		"growing links":               {[]entry{{name: "a", kind: sym, link: "a/a/a"}, {name: "a/x", body: "x"}}, true},
		"proc magic link":             {[]entry{{name: "l", kind: sym, link: "/proc/self/root"}, {name: "l/canary", body: "x"}}, false},
		"root as link":                {[]entry{{name: "./", kind: sym, link: "../.."}, {name: "canary", body: "x"}}, true},
		"root as file":                {[]entry{{name: ".", body: "x"}}, true},
		"hard link out":               {[]entry{{name: "h", kind: hard, link: up}}, true},
		"hard link absolute":          {[]entry{{name: "h", kind: hard, link: "/etc/passwd"}, {name: "h", body: "x"}}, true},
		"hard link through link":      {[]entry{{name: "l", kind: sym, link: "/etc"}, {name: "h", kind: hard, link: "l/passwd"}}, true},
		"hard link to link":           {[]entry{{name: "l", kind: sym, link: up}, {name: "h", kind: hard, link: "l"}, {name: "h", body: "x"}}, false},
		"hard link to dir":            {[]entry{{name: "d/", kind: dir}, {name: "h", kind: hard, link: "d"}}, true},
		"hard link to missing":        {[]entry{{name: "h", kind: hard, link: "nothing"}}, true},
		"hard link to whiteout":       {[]entry{{name: ".wh.w"}, {name: "h", kind: hard, link: "w"}}, true},
		"hard link to itself":         {[]entry{{name: "h", body: "x"}, {name: "h", kind: hard, link: "h"}}, false},
		"whiteout of dotdot":          {[]entry{{name: ".wh..."}}, true}, // ".wh." and ".."
		"whiteout of dot":             {[]entry{{name: "d/.wh.."}}, true},
		"whiteout of nothing":         {[]entry{{name: ".wh."}}, true},
		"whiteout through link":       {[]entry{{name: "l", kind: sym, link: "../.."}, {name: "l/.wh.canary"}}, false},
		"entry below whiteout":        {[]entry{{name: ".wh.x/y", body: "x"}}, true},
		"opaque through link":         {[]entry{{name: "l", kind: sym, link: "/"}, {name: "l/.wh..wh..opq"}}, false},
		"file as parent":              {[]entry{{name: "f", body: "x"}, {name: "f/g", body: "x"}}, true},
		"device":                      {[]entry{{name: "sda", kind: tar.TypeBlock, major: 8}}, false},
		"overlay whiteout device":     {[]entry{{name: "w", kind: tar.TypeChar}}, false},
		"owner out of range":          {[]entry{{name: "f", uid: 1<<32 - 1}}, true},
		"long name":                   {[]entry{{name: strings.Repeat("n", 256), body: "x"}}, true},
		"long path":                   {[]entry{{name: strings.Repeat("abcdefg/", 600) + "x", body: "x"}}, true},
		"big xattr":                   {[]entry{{name: "f", xattr: map[string]string{"user.x": strings.Repeat("x", 70000)}}}, true},
		"empty link":                  {[]entry{{name: "l", kind: sym, link: ""}}, true},
		"file over dir":               {[]entry{{name: "d/", kind: dir}, {name: "d/f", body: "one"}, {name: "d", body: "two"}}, false},
		"dir over file":               {[]entry{{name: "d", body: "one"}, {name: "d/", kind: dir}, {name: "d/f", body: "two"}}, false},
		"file thrice":                 {[]entry{{name: "f", body: "one"}, {name: "f", body: "two"}, {name: "f", body: "three"}}, false},
		"parent replaced":             {[]entry{{name: "d/f", body: "one"}, {name: "d", kind: sym, link: "e"}, {name: "e/", kind: dir}, {name: "d/f", body: "two"}}, false},
		"control characters in names": {[]entry{{name: "a\nb\x1b[31m", body: "x"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			canary := filepath.Join(top, "canary")
			if err := os.WriteFile(canary, []byte("alive"), 0o600); err != nil {
				t.Fatal(err)
			}
			layer := filepath.Join(top, "layer")
			if err := os.Mkdir(layer, 0o700); err != nil {
				t.Fatal(err)
			}
			data := pack(t, c.entries)
			var frame bytes.Buffer
			res, err := Layer(context.Background(), bytes.NewReader(data), layer, options(&frame))
			if (err != nil) != c.refused {
				t.Errorf("error %v, want refused %v", err, c.refused)
			}
			if err != nil && !errors.Is(err, ErrUnsafe) && !errors.Is(err, ErrLimit) {
				t.Errorf("error of another kind: %v", err)
			}
			if got, _ := os.ReadFile(canary); string(got) != "alive" {
				t.Errorf("canary: %q", got)
			}
			if all, _ := filepath.Glob(filepath.Join(top, "*")); len(all) != 2 {
				t.Errorf("outside of the layer: %v", all)
			}
			if err == nil {
				checkReplay(t, data, layer, &frame, res)
			}
		})
	}
}

func checkReplay(t *testing.T, data []byte, layer string, frame *bytes.Buffer, res Result) {
	t.Helper()
	var again bytes.Buffer
	if err := Replay(context.Background(), frame, layer, res.Moved, &again); err != nil {
		t.Errorf("replay: %v", err)
	} else if !bytes.Equal(again.Bytes(), data) {
		t.Errorf("replay gives %d bytes that differ from the tar's %d", again.Len(), len(data))
	}
}

// TestLinkToAnotherLayer says what is wrong with a hard link whose target only a lower layer may have, and what helps.
func TestLinkToAnotherLayer(t *testing.T) {
	for _, target := range []string{"below", "dir/below"} {
		_, err := Layer(context.Background(), bytes.NewReader(pack(t, []entry{{name: "h", kind: hard, link: target}})), t.TempDir(), options(&bytes.Buffer{}))
		if !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), fmt.Sprintf("hard link to %q, which is not in this layer", target)) || !strings.Contains(err.Error(), "squash the layers") {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestAttributes(t *testing.T) {
	layer := t.TempDir()
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	data := pack(t, []entry{
		{name: "./", kind: dir, mode: 0o711},
		{name: "bin/", kind: dir, mode: 0o2775, uid: 7},
		{name: "bin/ping", body: "ping", mode: 0o4755, uid: 1000, xattr: map[string]string{
			"security.capability": capability, "user.note": "kept", "user.overlay.opaque": "y", "trusted.overlay.redirect": "/x", "security.selinux": "no"}},
		{name: "bin/link", kind: sym, link: "ping", uid: 5},
		{name: "bin/.wh.gone"},
		{name: "opaque/x", body: "x"},
		{name: "opaque/.wh..wh..opq"},
		{name: "opaque/.wh.pointless"},
		{name: ".wh.again"},
		{name: "again/y", body: "y"},
		{name: ".wh..wh.plnk/", kind: dir},
		{name: "fifo", kind: tar.TypeFifo, mode: 0o622},
	})
	var frame bytes.Buffer
	res, err := Layer(context.Background(), bytes.NewReader(data), layer, options(&frame))
	if err != nil {
		t.Fatal(err)
	}
	checkReplay(t, data, layer, &frame, res)
	stat := func(name string) syscall.Stat_t {
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(layer, "fs", name), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	xattr := func(name, attr string) string {
		buf := make([]byte, 256)
		n, err := unix.Lgetxattr(filepath.Join(layer, "fs", name), attr, buf)
		if err != nil {
			return ""
		}
		return string(buf[:n])
	}
	for name, want := range map[string]uint32{".": 0o40711, "bin": 0o42775, "bin/ping": 0o104755, "fifo": 0o10622} {
		if got := stat(name).Mode; got != want {
			t.Errorf("%s: mode %o, want %o", name, got, want)
		}
	}
	for name, want := range map[string]uint32{"bin": 7, "bin/ping": 1000, "bin/link": 5} {
		if got := stat(name).Uid; got != want {
			t.Errorf("%s: owner %d, want %d", name, got, want)
		}
	}
	for _, name := range []string{".", "bin", "bin/ping", "bin/link", "fifo"} {
		if got := stat(name).Mtim.Sec; got != 1e9 {
			t.Errorf("%s: time %d", name, got)
		}
	}
	if st := stat("bin/gone"); st.Mode&syscall.S_IFMT != syscall.S_IFCHR || st.Rdev != 0 {
		t.Errorf("whiteout: %+v", st)
	}
	for _, c := range []struct{ name, attr, want string }{
		{"bin/ping", "security.capability", capability}, {"bin/ping", "user.note", "kept"},
		{"bin/ping", "user.overlay.opaque", ""}, {"bin/ping", "trusted.overlay.redirect", ""},
		{"opaque", opaqueAttr, "y"}, {"again", opaqueAttr, "y"}, {"bin", opaqueAttr, ""},
	} {
		if got := xattr(c.name, c.attr); got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.name, c.attr, got, c.want)
		}
	}
	if _, err := os.Lstat(filepath.Join(layer, "fs/opaque/pointless")); !os.IsNotExist(err) {
		t.Errorf("whiteout in an opaque directory: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(layer, "fs/.wh..wh.plnk")); !os.IsNotExist(err) {
		t.Errorf("AUFS metadata: %v", err)
	}
}

// sparse is an old GNU header of a file with holes: one piece of data, at a place in a file of a size.
func sparse(name string, at, size int64, data string) []byte {
	h := make([]byte, 512)
	put := func(at int, format string, v any) { copy(h[at:], fmt.Sprintf(format, v)) }
	put(0, "%s", name)
	put(100, "%07o", 0o644)
	put(108, "%07o", 0)
	put(116, "%07o", 0)
	put(124, "%011o", len(data))
	put(136, "%011o", 0)
	h[156] = tar.TypeGNUSparse
	copy(h[257:], "ustar  \x00")
	put(386, "%011o", at)
	put(398, "%011o", len(data))
	h[483] = 0x80 // a binary number
	binary.BigEndian.PutUint64(h[487:], uint64(size))
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	put(148, "%06o\x00", sum)
	return append(append(h, data...), make([]byte, (512-len(data)%512)%512)...)
}

// TestSparse unpacks a file with holes, which take no room, and refuses one whose holes are larger than a layer may be.
func TestSparse(t *testing.T) {
	end := make([]byte, 1024)
	data := append(sparse("f", 512<<20, 1<<30, "in the middle"), end...)
	var frame bytes.Buffer
	layer := t.TempDir()
	room := int64(0)
	opts := options(&frame)
	opts.Room = func(n int64) error { room += n; return nil }
	res, err := Layer(t.Context(), bytes.NewReader(data), layer, opts)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(layer, "fs/f"), &st); err != nil || st.Size != 1<<30 || st.Blocks*512 > 1<<20 || res.Bytes > 1<<20 || room > 1<<20 {
		t.Errorf("%d bytes in %d blocks, counted as %d, of %d asked for, %v", st.Size, st.Blocks, res.Bytes, room, err)
	}
	f, err := os.Open(filepath.Join(layer, "fs/f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 15)
	if _, err := f.ReadAt(got, 512<<20-1); err != nil || string(got) != "\x00in the middle\x00" {
		t.Errorf("%q, %v", got, err)
	}
	checkReplay(t, data, layer, &frame, res)
	two := append(append(sparse("f", 0, 1<<29, "x"), sparse("g", 0, 1<<29+1, "x")...), end...)
	for name, data := range map[string][]byte{"one": append(sparse("f", 0, 1<<40, "x"), end...), "two together": two} {
		if _, err := Layer(t.Context(), bytes.NewReader(data), t.TempDir(), options(&frame)); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEntryLimit(t *testing.T) {
	var entries []entry
	for range 1001 {
		entries = append(entries, entry{name: "f"})
	}
	var frame bytes.Buffer
	if _, err := Layer(context.Background(), bytes.NewReader(pack(t, entries)), t.TempDir(), options(&frame)); !errors.Is(err, ErrLimit) {
		t.Errorf("error: %v", err)
	}
}

// TestImpliedDirectories: few entries may not make a host of directories, nor may they go unseen by who asks for room.
func TestImpliedDirectories(t *testing.T) {
	deep := func(top string) entry { return entry{name: top + strings.Repeat("/d", 300) + "/f"} }
	var asked int64
	opts := options(new(bytes.Buffer))
	opts.Room = func(size int64) error { asked += size; return nil }
	data := pack(t, []entry{deep("a"), deep("b"), deep("c"), deep("d"), {name: "never"}})
	if _, err := Layer(context.Background(), bytes.NewReader(data), t.TempDir(), opts); !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "d/d/d") {
		t.Errorf("error: %v", err)
	}
	if asked < 1000*blockSize {
		t.Errorf("room was asked for %d bytes", asked)
	}
}

// TestReplacedDirectories: each replaced directory is a look at all others, so there may not be many.
func TestReplacedDirectories(t *testing.T) {
	var entries []entry
	for range maxDirsMoved + 1 {
		entries = append(entries, entry{name: "d/", kind: dir}, entry{name: "d", kind: sym, link: "x"})
	}
	opts := options(new(bytes.Buffer))
	opts.MaxEntries = 1 << 20
	if _, err := Layer(context.Background(), bytes.NewReader(pack(t, entries)), t.TempDir(), opts); !errors.Is(err, ErrLimit) {
		t.Errorf("error: %v", err)
	}
}

// FuzzLayer unpacks anything; nothing may leave the layer, and what was taken
// must play back.
func FuzzLayer(f *testing.F) {
	f.Add(pack(f, []entry{{name: "d/", kind: dir}, {name: "d/f", body: "x"}, {name: "l", kind: sym, link: "d"}, {name: "l/g", body: "y"}}))
	f.Add(pack(f, []entry{{name: "a", body: "x"}, {name: "b", kind: hard, link: "a"}, {name: ".wh.c"}, {name: "a/", kind: dir}}))
	f.Add(pack(f, []entry{{name: "l", kind: sym, link: "../.."}, {name: "l/canary", body: "x"}, {name: "l/.wh..wh..opq"}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		top := t.TempDir()
		layer := filepath.Join(top, "layer")
		if err := os.Mkdir(layer, 0o700); err != nil {
			t.Fatal(err)
		}
		var frame bytes.Buffer
		opts := options(&frame)
		opts.Room = func(n int64) error {
			if n > 1<<20 {
				return ErrLimit
			}
			return nil
		}
		res, err := Layer(context.Background(), bytes.NewReader(data), layer, opts)
		if all, _ := os.ReadDir(top); len(all) != 1 {
			t.Errorf("outside of the layer: %v", all)
		}
		if err == nil {
			checkReplay(t, data, layer, &frame, res)
		}
	})
}
