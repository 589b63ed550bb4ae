//go:build linux

package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// unpacker holds the state of one layer's unpacking.
type unpacker struct {
	opts   Options
	root   *rootfd.Root
	shadow string
	tap    *tap
	res    Result
	buf    []byte
	// dirTimes are set at the end, as entries made in a directory change its time.
	dirTimes map[string]time.Time
	// opaque directories, and whiteouts by path: whiteouts in an opaque
	// directory say nothing and would show up in a listing.
	opaque    map[string]bool
	whiteouts map[string]bool
	implicit  map[string]bool
	// sparse counts the bytes of sparse files, with their holes.
	sparse int64
	// names counts the bytes of paths in these maps and in res.Moved, dirsMoved the directories that were replaced.
	names     int
	dirsMoved int
}

func newUnpacker(dir string, opts Options) (*unpacker, error) {
	fsDir := filepath.Join(dir, "fs")
	if err := os.Mkdir(fsDir, 0o755); err != nil {
		return nil, fmt.Errorf("creating layer directory: %w", err)
	}
	if err := os.Chmod(fsDir, 0o755); err != nil {
		return nil, fmt.Errorf("creating layer directory: %w", err)
	}
	root, err := rootfd.Open(fsDir)
	if err != nil {
		return nil, fmt.Errorf("opening layer directory: %w", err)
	}
	return &unpacker{
		opts: opts, root: root, shadow: filepath.Join(dir, "shadow"), buf: make([]byte, 1<<20),
		dirTimes: map[string]time.Time{}, opaque: map[string]bool{}, whiteouts: map[string]bool{},
		implicit: map[string]bool{".": true}, res: Result{Inodes: 1, Bytes: blockSize},
	}, nil
}

func (u *unpacker) close() { u.root.Close() }

func (u *unpacker) count(bytes int64) {
	u.res.Inodes++
	u.res.Bytes += (bytes + blockSize - 1) / blockSize * blockSize
}

const (
	// maxNames bounds the memory that the paths of a layer take. One entry of a few bytes, compressed, may imply two
	// thousand directories with paths of kilobytes.
	maxNames = 128 << 20
	// maxDirsMoved bounds how often an entry replaces a directory, each of which is a look at all paths.
	maxDirsMoved = 1000
)

// over tells that the layer costs more than it may.
func (u *unpacker) over() error {
	switch {
	case u.res.Inodes > int64(u.opts.MaxEntries):
		return fmt.Errorf("%w: more than %d files and directories, with those that paths imply", ErrLimit, u.opts.MaxEntries)
	case u.names > maxNames:
		return fmt.Errorf("%w: more than %d bytes of paths of directories", ErrLimit, maxNames)
	case u.dirsMoved > maxDirsMoved:
		return fmt.Errorf("%w: more than %d directories are replaced by later entries", ErrLimit, maxDirsMoved)
	}
	return nil
}

// rootEntry takes the attributes of the layer's root. Only a directory can be
// the root (containerd CVE-2021-32760 had a link take its place).
func (u *unpacker) rootEntry(hdr *tar.Header) error {
	if hdr.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: the root must be a directory", ErrUnsafe)
	}
	delete(u.implicit, ".")
	u.dirTimes["."] = hdr.ModTime
	return setFD(u.root.FD(), hdr)
}

func (u *unpacker) mkdir(at place, hdr *tar.Header) error {
	wasWhiteout := u.whiteouts[at.path()]
	if err := u.opts.Room(blockSize); err != nil {
		return err
	}
	err := at.dir.Mkdir(at.base)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if st, err = at.dir.Stat(at.base); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err = u.free(&at); err == nil {
				err = at.dir.Mkdir(at.base)
				u.count(blockSize)
			}
		}
	} else if err == nil {
		u.count(blockSize)
	}
	if err != nil {
		return fmt.Errorf("mkdirat: %w", err)
	}
	fd, err := at.dir.OpenSub(at.base)
	if err != nil {
		return fmt.Errorf("openat: %w", err)
	}
	defer rootfd.Close(fd)
	delete(u.implicit, at.path())
	u.dirTimes[at.path()] = hdr.ModTime
	u.names += len(at.path())
	if wasWhiteout {
		if err := u.setOpaque(fd, at.path()); err != nil {
			return err
		}
	}
	return setFD(fd, hdr)
}

func (u *unpacker) file(at place, hdr *tar.Header, tr *tar.Reader) error {
	sparse := isSparse(hdr)
	if sparse {
		if hdr.Size > u.opts.MaxSparse-u.sparse {
			return fmt.Errorf("%w: more than %d bytes of sparse files, with their holes", ErrLimit, u.opts.MaxSparse)
		}
		u.sparse += hdr.Size
	} else if err := u.opts.Room(hdr.Size); err != nil {
		return err
	}
	fd, err := at.dir.Create(at.base)
	if errors.Is(err, unix.EEXIST) {
		if err := u.free(&at); err != nil {
			return err
		}
		fd, err = at.dir.Create(at.base)
	}
	if err != nil {
		return fmt.Errorf("openat: %w", err)
	}
	defer rootfd.Close(fd)
	taken := hdr.Size
	if sparse {
		taken, err = u.copySparse(fd, tr, hdr.Size)
	} else {
		u.tap.beginContent(at.path(), hdr.Size)
		err = u.copy(fd, tr, hdr.Size)
		u.tap.endContent()
	}
	if err != nil {
		return err
	}
	u.count(taken)
	if err := setFD(fd, hdr); err != nil {
		return err
	}
	return wrapCall("utimensat", at.dir.SetTimes(at.base, hdr.ModTime))
}

func (u *unpacker) copy(fd int, tr *tar.Reader, size int64) error {
	for size > 0 {
		p := u.buf[:min(int64(len(u.buf)), size)]
		n, err := io.ReadFull(tr, p)
		if err != nil {
			return wrapTar(fmt.Errorf("reading content: %w", noEOF(err)))
		}
		if err := rootfd.WriteAll(fd, p[:n]); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		size -= int64(n)
	}
	return nil
}

// sparsePiece is what is looked at for a hole.
const sparsePiece = 64 << 10

// copySparse keeps the holes of a file: a few bytes of a tar may stand for as much as the disk has. It returns how much
// was written.
func (u *unpacker) copySparse(fd int, tr *tar.Reader, size int64) (taken int64, err error) {
	for rest := size; rest > 0; {
		p := u.buf[:min(sparsePiece, rest)]
		n, err := io.ReadFull(tr, p)
		if err != nil {
			return taken, wrapTar(fmt.Errorf("reading content: %w", noEOF(err)))
		}
		rest -= int64(n)
		if bytes.Count(p, []byte{0}) == n {
			err = rootfd.Skip(fd, int64(n))
		} else if err = u.opts.Room(int64(n)); err == nil {
			err = wrapCall("write", rootfd.WriteAll(fd, p))
			taken += int64(n)
		}
		if err != nil {
			return taken, err
		}
	}
	return taken, rootfd.SetSize(fd, size)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (u *unpacker) symlink(at place, hdr *tar.Header) error {
	if len(hdr.Linkname) >= u.opts.MaxPath || hdr.Linkname == "" {
		return fmt.Errorf("%w: link target of %d bytes", ErrUnsafe, len(hdr.Linkname))
	}
	if err := u.opts.Room(blockSize); err != nil {
		return err
	}
	if err := u.free(&at); err != nil {
		return err
	}
	if err := at.dir.Symlink(hdr.Linkname, at.base); err != nil {
		return fmt.Errorf("symlinkat: %w", err)
	}
	u.count(0)
	if err := at.dir.Chown(at.base, hdr.Uid, hdr.Gid); err != nil {
		return fmt.Errorf("fchownat: %w", err)
	}
	return wrapCall("utimensat", at.dir.SetTimes(at.base, hdr.ModTime))
}

// link makes a hard link. Its target must be in this layer: what a lower layer
// has is not in this directory, and may be something else below another image.
// Builders write such files in full; the image specification lets others fail
// (layer.md, "Hardlinks"), and containerd, whose links are made in the directory
// of the layer as well, does.
func (u *unpacker) link(at place, hdr *tar.Header) error {
	target, err := u.cleanName(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", clip(hdr.Linkname), err)
	}
	outside := func(err error) error {
		return fmt.Errorf("%w: hard link to %q, which is not in this layer, and links to files of other layers are not possible; "+
			"write the file in the step that makes the link, or squash the layers: %w", ErrUnsafe, clip(hdr.Linkname), err)
	}
	from, err := u.root.OpenDir(path.Dir(target))
	if err != nil {
		return outside(err)
	}
	old := place{from, path.Base(target)}
	if old.path() == at.path() {
		return nil
	}
	st, err := from.Stat(old.base)
	if errors.Is(err, unix.ENOENT) {
		return outside(err)
	}
	if err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR || u.whiteouts[old.path()] || strings.HasPrefix(old.base, whiteoutPrefix) {
		return fmt.Errorf("%w: hard link to %q, which is no file of this layer", ErrUnsafe, clip(hdr.Linkname))
	}
	if err := u.free(&at); err != nil {
		return err
	}
	if from, err = u.root.OpenDir(old.dir.Path); err != nil {
		return err
	}
	if err := at.dir.Link(from, old.base, at.base); err != nil {
		return fmt.Errorf("%w: hard link to %q: linkat: %w", ErrUnsafe, clip(hdr.Linkname), err)
	}
	return nil
}

// node makes a fifo or, where allowed, a device. Device 0:0 is overlayfs's
// whiteout and no device: it is never taken from a tar.
func (u *unpacker) node(at place, hdr *tar.Header) error {
	mode, dev := uint32(unix.S_IFIFO), uint64(0)
	if hdr.Typeflag != tar.TypeFifo {
		if !u.opts.AllowDevices || hdr.Devmajor == 0 && hdr.Devminor == 0 {
			u.res.Skipped++
			return nil
		}
		mode = unix.S_IFCHR
		if hdr.Typeflag == tar.TypeBlock {
			mode = unix.S_IFBLK
		}
		dev = unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
	}
	if err := u.free(&at); err != nil {
		return err
	}
	if err := at.dir.Mknod(at.base, mode, dev); err != nil {
		return fmt.Errorf("mknodat: %w", err)
	}
	u.count(0)
	return setNamed(at, hdr)
}

// free makes sure that at's name is not taken, moving what is there aside.
// It may reopen at's directory.
func (u *unpacker) free(at *place) error {
	st, err := at.dir.Stat(at.base)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fstatat: %w", err)
	}
	if u.whiteouts[at.path()] {
		delete(u.whiteouts, at.path())
		return wrapCall("unlinkat", at.dir.Unlink(at.base))
	}
	if err := u.moveAside(*at); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil
	case unix.S_IFDIR:
		u.dirsMoved++
		u.forgetBelow(at.path())
	}
	// What cached descriptors were reached through may be gone.
	dir := at.dir.Path
	u.root.Forget()
	at.dir, err = u.root.OpenDir(dir)
	return err
}

// moveAside keeps a replaced file for Replay, outside of the layer.
func (u *unpacker) moveAside(at place) error {
	if err := os.Mkdir(u.shadow, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("creating shadow directory: %w", err)
	}
	to, err := rootfd.Open(u.shadow)
	if err != nil {
		return err
	}
	defer to.Close()
	n := len(u.res.Moved)
	top, err := to.OpenDir(".")
	if err != nil {
		return err
	}
	if err := at.dir.Move(at.base, top, strconv.Itoa(n)); err != nil {
		return fmt.Errorf("renameat2: %w", err)
	}
	u.res.Moved = append(u.res.Moved, Move{Before: u.tap.contents(), Path: at.path(), Index: n})
	u.names += len(at.path())
	return nil
}
