package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// tree is what a layer holds, by path without a leading slash.
type tree map[string]member

// member is one entry of a layer.
type member struct {
	tar.Header
	body []byte
}

// merged is where a root with merged /usr has the directories of old.
var merged = map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}

// place is the path of a name in a root with merged /usr.
func place(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	first, rest, below := strings.Cut(name, "/")
	if to, ok := merged[first]; ok && below {
		return to + "/" + rest
	}
	return name
}

func (t tree) put(m member) {
	m.Name = place(m.Name)
	if m.Typeflag == tar.TypeLink {
		m.Linkname = place(m.Linkname)
	}
	m.ModTime = epoch
	t[m.Name] = m
}

// epoch is the time of all files, so that the same files make the same bytes.
var epoch = time.Unix(1_700_000_000, 0)

func (t tree) file(name string, mode int64, body []byte) {
	t.put(member{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}, body: body})
}

func (t tree) dir(name string, mode int64) {
	t.put(member{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}})
}

func (t tree) link(name, target string) {
	t.put(member{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}})
}

// pack writes the layer as tar: directories above a member come before it, and
// the files that hard links name before the links.
func (t tree) pack() ([]byte, error) {
	for _, name := range slices.Collect(maps.Keys(t)) {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			if _, ok := t[d]; !ok {
				t.dir(d, 0o755)
			}
		}
	}
	list := slices.Collect(maps.Values(t))
	slices.SortFunc(list, func(a, b member) int {
		isLink := func(m member) int {
			if m.Typeflag == tar.TypeLink {
				return 1
			}
			return 0
		}
		return cmp.Or(isLink(a)-isLink(b), cmp.Compare(a.Name, b.Name))
	})
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, m := range list {
		m.Size = int64(len(m.body))
		m.Format = tar.FormatPAX
		if m.Typeflag == tar.TypeDir {
			m.Name += "/"
		}
		if err := w.WriteHeader(&m.Header); err != nil {
			return nil, fmt.Errorf("packing %q: %w", m.Name, err)
		}
		if _, err := w.Write(m.body); err != nil {
			return nil, fmt.Errorf("packing %q: %w", m.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("packing a layer: %w", err)
	}
	return buf.Bytes(), nil
}
