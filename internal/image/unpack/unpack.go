//go:build linux

// Package unpack turns the tar of an image layer into a directory that
// overlayfs takes as a lower layer, and back.
//
// The tar is foreign: nothing in it may reach outside the directory, cost more
// than its limits, or smuggle overlayfs's own marks. Whiteouts (".wh.NAME",
// OCI image spec, "Layer", section "Whiteouts") become character devices 0:0,
// opaque whiteouts the attribute trusted.overlay.opaque (kernel,
// Documentation/filesystems/overlayfs.rst). A whiteout speaks of lower layers
// only: entries of the same layer stay, wherever they stand in the tar.
package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// Errors that callers branch on.
var (
	// ErrUnsafe: an entry tries to leave the layer or is malformed.
	ErrUnsafe = errors.New("unsafe layer entry")
	// ErrLimit: the layer is larger than allowed.
	ErrLimit = errors.New("layer limit exceeded")
	// ErrTar: the stream is no readable tar.
	ErrTar = errors.New("broken layer tar")
)

// Options say what a layer may contain.
type Options struct {
	// MaxEntries bounds the tar's entries, and the files and directories that they make.
	MaxEntries int
	// MaxSparse bounds sparse files with their holes, of which the tar has nothing.
	MaxSparse    int64
	MaxPath      int
	MaxName      int
	MaxXattrs    int64
	AllowDevices bool
	// Portable keeps whiteouts in the tar's own form, for file systems that cannot hold overlayfs's. Such a layer is
	// for Merge alone.
	Portable bool
	// Room is asked before size more bytes are written.
	Room func(size int64) error
	// Frame, if set, takes what Replay needs besides the files.
	Frame io.Writer
}

// Result is what was unpacked.
type Result struct {
	// Bytes is the space taken, in whole blocks of 4 KiB; Inodes the files.
	Bytes, Inodes int64
	// Skipped counts device nodes that were left out.
	Skipped int
	// Implicit are directories that the tar implied without an entry of their
	// own, so that their attributes are not the image's but a default.
	Implicit []string
	// OpaqueRoot says that the layer hides everything below it.
	OpaqueRoot bool
	// Portable says that there are whiteouts that overlayfs does not know.
	Portable bool `json:",omitempty"`
	// Moved are files that a later entry replaced, for Replay.
	Moved []Move
}

// Move says that what content record number Before or earlier calls Path is
// found as shadow/Index.
type Move struct {
	Before int    `json:"before"`
	Path   string `json:"path"`
	Index  int    `json:"index"`
}

const blockSize = 4096

// Layer unpacks the tar in r into dir/fs, which must not exist; files that
// were replaced within the layer go to dir/shadow. It reads r up to the tar's
// end mark; the caller drains and verifies the rest.
func Layer(ctx context.Context, r io.Reader, dir string, opts Options) (Result, error) {
	u, err := newUnpacker(dir, opts)
	if err != nil {
		return Result{}, err
	}
	defer u.close()
	tap := &tap{r: r}
	if opts.Frame != nil {
		tap.frame = &frameWriter{w: opts.Frame}
	}
	u.tap = tap
	if err := u.run(ctx, tar.NewReader(tap)); err != nil {
		return Result{}, err
	}
	if err := u.finish(); err != nil {
		return Result{}, err
	}
	// What follows the end mark belongs to the digest, and so to the frame.
	if _, err := io.Copy(io.Discard, tap); err != nil {
		return Result{}, fmt.Errorf("reading layer to its end: %w", err)
	}
	return u.res, tap.frame.flush()
}

func (u *unpacker) run(ctx context.Context, tr *tar.Reader) error {
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return wrapTar(err)
		}
		if n >= u.opts.MaxEntries {
			return fmt.Errorf("%w: more than %d entries", ErrLimit, u.opts.MaxEntries)
		}
		if n%64 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err = u.entry(hdr, tr)
		if err == nil {
			err = u.over()
		}
		if err != nil {
			return fmt.Errorf("unpacking %q: %w", clip(hdr.Name), err)
		}
	}
}

// entry unpacks one member of the tar.
func (u *unpacker) entry(hdr *tar.Header, tr *tar.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := u.cleanName(hdr.Name)
	if err != nil {
		return err
	}
	if err := u.checkHeader(hdr); err != nil {
		return err
	}
	if name == "." {
		return u.rootEntry(hdr)
	}
	dirName, base := path.Split(name)
	parent, err := u.parent(path.Clean("./" + dirName))
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(parent, base)
	}
	at := place{dir: parent, base: base}
	switch hdr.Typeflag {
	case tar.TypeDir:
		return u.mkdir(at, hdr)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		return u.file(at, hdr, tr)
	case tar.TypeSymlink:
		return u.symlink(at, hdr)
	case tar.TypeLink:
		return u.link(at, hdr)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock:
		return u.node(at, hdr)
	}
	return fmt.Errorf("%w: type %q", ErrUnsafe, hdr.Typeflag)
}

// cleanName returns an entry's path relative to the layer. A leading slash is
// taken off, as all unpackers do; ".." is refused, as no builder writes it.
func (u *unpacker) cleanName(name string) (string, error) {
	if len(name) > u.opts.MaxPath {
		return "", fmt.Errorf("%w: path of %d bytes, at most %d are allowed", ErrLimit, len(name), u.opts.MaxPath)
	}
	if strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%w: path with a zero byte", ErrUnsafe)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf(`%w: path with ".."`, ErrUnsafe)
		}
		if len(part) > u.opts.MaxName {
			return "", fmt.Errorf("%w: name of %d bytes, at most %d are allowed", ErrLimit, len(part), u.opts.MaxName)
		}
	}
	return path.Clean("./" + strings.TrimLeft(name, "/")), nil
}

// maxID is the largest user or group id; 2^32-1 means "unchanged" to the kernel.
const maxID = 1<<32 - 2

func (u *unpacker) checkHeader(hdr *tar.Header) error {
	if hdr.Uid < 0 || hdr.Uid > maxID || hdr.Gid < 0 || hdr.Gid > maxID {
		return fmt.Errorf("%w: owner %d:%d is out of range", ErrUnsafe, hdr.Uid, hdr.Gid)
	}
	if hdr.Size < 0 {
		return fmt.Errorf("%w: size %d", ErrUnsafe, hdr.Size)
	}
	var total int64
	for k, v := range hdr.PAXRecords {
		if strings.HasPrefix(k, paxXattr) {
			total += int64(len(k) + len(v))
		}
	}
	if total > u.opts.MaxXattrs {
		return fmt.Errorf("%w: %d bytes of extended attributes, at most %d are allowed", ErrLimit, total, u.opts.MaxXattrs)
	}
	return nil
}

func wrapTar(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrTar, err)
	}
	return err
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:125] + "..."
	}
	return s
}

// place is where an entry goes.
type place struct {
	dir  rootfd.Dir
	base string
}

func (p place) path() string { return path.Join(p.dir.Path, p.base) }
