//go:build linux

package unpack

import (
	"encoding/binary"
	"io"
)

// A frame is a layer's tar without the contents of its files: records of
//
//	'R' uvarint(n) n bytes              bytes of the tar as they are
//	'C' uvarint(size) uvarint(n) path   the content of a file
//
// so that frame and files together give the tar back byte by byte, and its
// digest. Builders differ in headers and padding; no tar writer could.
const (
	recordRaw     = 'R'
	recordContent = 'C'
	maxRaw        = 64 << 10
)

type frameWriter struct {
	w   io.Writer
	raw []byte
	n   int
	err error
}

func (f *frameWriter) addRaw(p []byte) {
	if f == nil || f.err != nil {
		return
	}
	f.raw = append(f.raw, p...)
	if len(f.raw) >= maxRaw {
		f.emitRaw()
	}
}

func (f *frameWriter) emitRaw() {
	if len(f.raw) == 0 || f.err != nil {
		return
	}
	f.write(append(binary.AppendUvarint([]byte{recordRaw}, uint64(len(f.raw))), f.raw...))
	f.raw = f.raw[:0]
}

func (f *frameWriter) addContent(path string, size int64) {
	if f == nil {
		return
	}
	f.emitRaw()
	rec := binary.AppendUvarint([]byte{recordContent}, uint64(size))
	rec = binary.AppendUvarint(rec, uint64(len(path)))
	f.write(append(rec, path...))
	f.n++
}

func (f *frameWriter) write(p []byte) {
	if f.err == nil {
		_, f.err = f.w.Write(p)
	}
}

func (f *frameWriter) flush() error {
	if f == nil {
		return nil
	}
	f.emitRaw()
	return f.err
}

// tap sits under the tar reader and tells the frame what is read as what.
type tap struct {
	r       io.Reader
	frame   *frameWriter
	content bool
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if !t.content && n > 0 {
		t.frame.addRaw(p[:n])
	}
	return n, err
}

func (t *tap) beginContent(path string, size int64) {
	if size > 0 {
		t.frame.addContent(path, size)
		t.content = true
	}
}

func (t *tap) endContent() { t.content = false }

func (t *tap) contents() int {
	if t.frame == nil {
		return 0
	}
	return t.frame.n
}
