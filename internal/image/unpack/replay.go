//go:build linux

package unpack

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// ErrChanged says that the files are not what was unpacked.
var ErrChanged = errors.New("layer changed on disk")

// Replay writes the tar that dir was unpacked from, out of its frame and its
// files. The result's digest tells whether they are still what they were.
func Replay(ctx context.Context, frame io.Reader, dir string, moved []Move, w io.Writer) error {
	p := &player{in: bufio.NewReaderSize(frame, 64<<10), out: w, moved: moved, buf: make([]byte, 256<<10)}
	var err error
	if p.fs, err = rootfd.Open(filepath.Join(dir, "fs")); err != nil {
		return fmt.Errorf("opening layer: %w", err)
	}
	defer p.fs.Close()
	if len(moved) > 0 {
		if p.shadow, err = rootfd.Open(filepath.Join(dir, "shadow")); err != nil {
			return fmt.Errorf("opening layer: %w", err)
		}
		defer p.shadow.Close()
	}
	for n := 0; ; n++ {
		if n%64 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		kind, err := p.in.ReadByte()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: reading frame: %w", ErrChanged, err)
		}
		if err := p.record(kind); err != nil {
			return err
		}
	}
}

type player struct {
	in     *bufio.Reader
	out    io.Writer
	fs     *rootfd.Root
	shadow *rootfd.Root
	moved  []Move
	seen   int
	buf    []byte
}

func (p *player) record(kind byte) error {
	size, err := binary.ReadUvarint(p.in)
	if err != nil || size > 1<<62 {
		return fmt.Errorf("%w: frame: bad length", ErrChanged)
	}
	switch kind {
	case recordRaw:
		if _, err := io.CopyN(p.out, p.in, int64(size)); err != nil {
			return fmt.Errorf("%w: reading frame: %w", ErrChanged, err)
		}
		return nil
	case recordContent:
		n, err := binary.ReadUvarint(p.in)
		if err != nil || n > 2*unix.PathMax {
			return fmt.Errorf("%w: frame: bad path length", ErrChanged)
		}
		name := make([]byte, n)
		if _, err := io.ReadFull(p.in, name); err != nil {
			return fmt.Errorf("%w: reading frame: %w", ErrChanged, err)
		}
		return p.content(string(name), int64(size))
	}
	return fmt.Errorf("%w: frame: unknown record %q", ErrChanged, kind)
}

func (p *player) content(name string, size int64) error {
	root, at := p.locate(name)
	p.seen++
	fd, err := root.OpenFile(at)
	if err != nil {
		return fmt.Errorf("%w: %q: %w", ErrChanged, name, err)
	}
	defer rootfd.Close(fd)
	for size > 0 {
		n, err := rootfd.Read(fd, p.buf[:min(int64(len(p.buf)), size)])
		if err != nil {
			return fmt.Errorf("read %q: %w", name, err)
		}
		if n == 0 {
			return fmt.Errorf("%w: %q is %d bytes short", ErrChanged, name, size)
		}
		if _, err := p.out.Write(p.buf[:n]); err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// locate finds where a file is now that was at name when its content was
// read: the first move after that took it, or it is still there.
func (p *player) locate(name string) (*rootfd.Root, string) {
	for _, m := range p.moved {
		if m.Before <= p.seen {
			continue
		}
		if rest, ok := strings.CutPrefix(name, m.Path); ok && (rest == "" || rest[0] == '/') {
			return p.shadow, path.Join(strconv.Itoa(m.Index), rest)
		}
	}
	return p.fs, name
}
