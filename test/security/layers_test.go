package security

import (
	"archive/tar"
	"bytes"
	"fmt"
	"strings"
	"testing"

	"go.skiff.dev/skiff/test/testimage"
)

// hostileLayer is one layer that tries something.
type hostileLayer struct {
	name string
	// layer is the plain tar.
	layer []byte
	// refused says that the image must not come in; the error then holds says.
	refused bool
	says    string
}

// members packs a layer; what archive/tar refuses to write is made by raw.
func members(t testing.TB, ms ...testimage.Member) []byte {
	t.Helper()
	data, err := testimage.Layer(ms).Tar()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func member(kind byte, name, link string) testimage.Member {
	return testimage.Member{Header: tar.Header{Typeflag: kind, Name: name, Linkname: link, Mode: 0o755}}
}

func file(name string) testimage.Member { return testimage.File(name, 0o644, []byte("dead")) }

// raw makes one member with a header that change has had its hands on.
func raw(name string, body string, change func(header []byte)) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", len(body)))
	copy(h[136:], "00000000000\x00")
	h[156] = tar.TypeReg
	copy(h[257:], "ustar\x0000")
	if change != nil {
		change(h)
	}
	copy(h[148:], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	out := append(h, body...)
	return append(out, make([]byte, (512-len(body)%512)%512)...)
}

// end is a tar's end mark.
func end() []byte { return make([]byte, 1024) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// pax makes an extended header with one record of any kind.
func pax(key, value string) []byte {
	record := fmt.Sprintf(" %s=%s\n", key, value)
	n := len(record)
	for len(fmt.Sprint(n))+len(record) != n {
		n = len(fmt.Sprint(n)) + len(record)
	}
	return raw("PaxHeaders/x", fmt.Sprint(n)+record, func(h []byte) { h[156] = tar.TypeXHeader })
}

// hostileLayers are layers that try to leave their directory, to cost more than
// they may, or to be taken for something else.
func hostileLayers(t testing.TB, c *canary) []hostileLayer {
	const sym, hard, dir = tar.TypeSymlink, tar.TypeLink, tar.TypeDir
	up, abs := c.up("file"), c.abs("file")
	upDir, absDir := c.up("dir"), c.abs("dir")
	xattr := func(name, value string) testimage.Member {
		m := file("f")
		m.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
		return m
	}
	owned := file("f")
	owned.Uid = 1<<32 - 1
	device := func(kind byte, major, minor int64) testimage.Member {
		m := member(kind, "dev/x", "")
		m.Devmajor, m.Devminor = major, minor
		return m
	}
	const unsafe = "unsafe layer entry"
	return []hostileLayer{
		// Names.
		{"dotdot", members(t, file(up)), true, `path with ".."`},
		{"dotdot in the middle", members(t, file("a/b/../../"+up)), true, `path with ".."`},
		{"dotdot at the end", members(t, member(dir, "a/..", "")), true, `path with ".."`},
		{"absolute", members(t, file(abs)), false, ""},
		{"slashes", members(t, file("//"+abs)), false, ""},
		{"zero byte in a name", join(pax("path", "f\x00"+up), raw("f", "dead", nil), end()), true, ""},
		{"long name", members(t, file(strings.Repeat("n", 256))), true, "name of 256 bytes, at most 255"},
		{"long path", members(t, file(strings.Repeat("dir/", 1100)+"f")), true, "path of 4401 bytes, at most 4096"},
		{"name of a megabyte", members(t, file(strings.Repeat("x", 1<<19))), true, "at most 4096"},
		{"control characters", members(t, file("a\nb\x1b[2J\r")), false, ""},
		{"empty name", join(raw("", "dead", nil), end()), true, "the root must be a directory"},
		// Links.
		{"through a relative link", members(t, member(sym, "l", upDir), file("l/file")), false, ""},
		{"through an absolute link", members(t, member(sym, "l", absDir), file("l/file")), false, ""},
		{"over a link", members(t, member(sym, "l", abs), file("l")), false, ""},
		{"directory over a link", members(t, member(sym, "l", absDir), member(dir, "l/", ""), file("l/file")), false, ""},
		{"mode of a directory through a link", members(t, member(sym, "l", absDir), member(dir, "l/.", "")), false, ""},
		{"chain of links", members(t, member(sym, "a", "b"), member(sym, "b", "c"), member(sym, "c", upDir), file("a/file")), false, ""},
		{"loop of links", members(t, member(sym, "a", "b"), member(sym, "b", "a"), file("a/f")), true, unsafe},
		{"links that grow", members(t, member(sym, "a", "a/a/a"), file("a/f")), true, unsafe},
		{"link through proc", members(t, member(sym, "l", "/proc/self/root"+c.dir), file("l/file")), false, ""},
		{"link through a descriptor", members(t, member(sym, "l", "/proc/self/fd/3/../../../../.."), file("l/file")), false, ""},
		{"link to itself as root", members(t, member(sym, "./", absDir), file("file")), true, "the root must be a directory"},
		{"root replaced by a file", members(t, testimage.File(".", 0o644, []byte("dead"))), true, "the root must be a directory"},
		{"link target of a megabyte", members(t, member(sym, "l", strings.Repeat("x", 1<<19))), true, "link target of"},
		{"link without a target", join(raw("l", "", func(h []byte) { h[156] = sym }), end()), true, "link target of 0 bytes"},
		{"parent swapped for a link", members(t, file("d/f"), member(sym, "d", absDir), file("d/file")), false, ""},
		// Hard links.
		{"hard link out", members(t, member(hard, "h", up)), true, `path with ".."`},
		{"hard link absolute", members(t, member(hard, "h", abs), file("h")), true, "which is not in this layer"},
		{"hard link through a link", members(t, member(sym, "l", c.dir), member(hard, "h", "l/file"), file("h")), true, "hard link to"},
		{"hard link to a link, then written", members(t, member(sym, "l", abs), member(hard, "h", "l"), file("h")), false, ""},
		{"hard link to a directory", members(t, member(dir, "d/", ""), member(hard, "h", "d")), true, "which is no file of this layer"},
		{"hard link to nothing", members(t, member(hard, "h", "nothing")), true, "which is not in this layer"},
		{"hard link to a whiteout", members(t, file(".wh.w"), member(hard, "h", "w")), true, "which is no file of this layer"},
		{"hard link to the root", members(t, member(hard, "h", ".")), true, "hard link to"},
		// Whiteouts.
		{"whiteout of dotdot", members(t, file("d/.wh...")), true, "whiteout of"},
		{"whiteout of dot", members(t, file("d/.wh..")), true, "whiteout of"},
		{"whiteout of nothing", members(t, file(".wh.")), true, "whiteout of"},
		{"whiteout through a link", members(t, member(sym, "l", c.dir), file("l/.wh.file")), false, ""},
		{"opaque through a link", members(t, member(sym, "l", c.dir), file("l/.wh..wh..opq")), false, ""},
		{"entry below a whiteout", members(t, file(".wh.x/y")), true, "below a whiteout"},
		{"whiteout made of a device", members(t, device(tar.TypeChar, 0, 0)), false, ""},
		{"bookkeeping of aufs", members(t, member(dir, ".wh..wh.plnk/", ""), member(sym, ".wh..wh.aufs", abs)), false, ""},
		// Kinds and attributes.
		{"disk", members(t, device(tar.TypeBlock, 8, 0)), false, ""},
		{"memory", members(t, device(tar.TypeChar, 1, 1)), false, ""},
		{"unknown kind", join(raw("f", "", func(h []byte) { h[156] = 'Z' }), end()), true, "type 'Z'"},
		{"overlay's redirect", members(t, xattr("trusted.overlay.redirect", c.dir)), false, ""},
		{"overlay's opaque mark", members(t, xattr("trusted.overlay.opaque", "y")), false, ""},
		{"overlay's user mark", members(t, xattr("user.overlay.redirect", c.dir)), false, ""},
		{"attributes of 100 kB", members(t, xattr("user.x", strings.Repeat("x", 100<<10))), true, "bytes of extended attributes, at most 65536"},
		{"owner that means unchanged", members(t, owned), true, "owner 4294967295:0 is out of range"},
		{"time out of range", join(pax("mtime", "99999999999999999999"), raw("f", "dead", nil), end()), true, ""},
		{"file as parent", members(t, file("f"), file("f/g")), true, "is no directory"},
		{"same name a thousand times", join(bytes.Repeat(raw("f", "dead", nil), 1000), end()), false, ""},
		// Sizes.
		{"negative size", join(raw("f", "", func(h []byte) { copy(h[124:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") }), end()), true, ""},
		{"negative size in a record", join(pax("size", "-1"), raw("f", "dead", nil), end()), true, ""},
		{"size of 4 exabytes", join(raw("f", "", func(h []byte) { copy(h[124:], "\x80\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00") }), end()), true, "bytes"},
		{"size beyond the end", join(raw("f", "", func(h []byte) { copy(h[124:], "00000100000\x00") }), []byte("short")), true, "broken layer tar"},
		{"sparse file of a terabyte", sparse(1 << 40), true, ""},
		{"cut in a header", members(t, file("f"))[:300], true, ""},
		{"cut in a file", members(t, testimage.File("f", 0, make([]byte, 4096)))[:1024], true, "broken layer tar"},
		{"wrong checksum", append([]byte("x"), members(t, file("f"))[1:]...), true, ""},
	}
}

// sparse is a GNU sparse file of a few bytes that claims to be size long (format 1.0).
func sparse(size int64) []byte {
	body := make([]byte, 512)
	copy(body, fmt.Sprintf("1\n%d\n4\n", size-4))
	body = append(body, "dead"...)
	var records strings.Builder
	for _, kv := range [][2]string{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", "f"}, {"GNU.sparse.realsize", fmt.Sprint(size)}} {
		line := fmt.Sprintf(" %s=%s\n", kv[0], kv[1])
		n := len(line) + 2
		fmt.Fprintf(&records, "%d%s", n, line)
	}
	head := raw("PaxHeaders/x", records.String(), func(h []byte) { h[156] = tar.TypeXHeader })
	return join(head, raw("GNUSparseFile.0/f", string(body), nil), end())
}
