//go:build linux

package rootfd

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/openat"
)

// plainly is how a path is walked in which no link is expected at all.
const plainly = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

var errNotRegular = errors.New("not a regular file")

// OpenRegular opens a file that somebody else may have put there, for reading. dir is trusted, links on the way to it
// too; below it no part of name may be a link, and what is there must be a regular file: a pod that may write to the
// directory of logs must not have the node read its secrets to it, or wait for a pipe (CVE-2026-53489).
func OpenRegular(dir, name string) (*os.File, error) {
	at, err := openTrusted(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(at)
	return openRegular(at, dir, name, unix.O_RDONLY, 0)
}

// AppendRegular opens a file for appending as OpenRegular does for reading. The file, and directories above it, are
// made where they are missing.
func AppendRegular(dir, name string, mode uint32) (*os.File, error) {
	d, base, err := Parent(dir, name, true)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return openRegular(int(d.Fd()), d.Name(), base, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND, mode)
}

// Parent opens the directory that holds name, below dir and through no link, and returns it with the last part of the
// name. With create, what is missing is made.
func Parent(dir, name string, create bool) (*os.File, string, error) {
	at, err := openTrusted(dir)
	if err != nil {
		return nil, "", err
	}
	where, base := path.Split(path.Clean(name))
	for part := range strings.SplitSeq(strings.Trim(where, "/"), "/") {
		if part == "" {
			continue
		}
		if create {
			if err := unix.Mkdirat(at, part, 0o755); err != nil && err != unix.EEXIST {
				unix.Close(at)
				return nil, "", &fs.PathError{Op: "mkdirat", Path: path.Join(dir, where), Err: err}
			}
		}
		next, err := openPlainly(at, part, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		unix.Close(at)
		if err != nil {
			return nil, "", &fs.PathError{Op: "openat2", Path: path.Join(dir, where), Err: err}
		}
		at = next
	}
	return os.NewFile(uintptr(at), path.Join(dir, where)), base, nil
}

func openTrusted(dir string) (int, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return fd, nil
}

func openPlainly(at int, name string, flags, mode uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_NOFOLLOW | unix.O_CLOEXEC, Mode: mode, Resolve: plainly}
	return openat.Open(at, name, &how)
}

// openRegular does not block on a pipe, and says what is wrong with one.
func openRegular(at int, dir, name string, flags uint64, mode uint32) (*os.File, error) {
	where := path.Join(dir, name)
	fd, err := openPlainly(at, path.Clean(name), flags|unix.O_NONBLOCK, uint64(mode))
	if err != nil {
		return nil, &fs.PathError{Op: "openat2", Path: where, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "fstat", Path: where, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: where, Err: errNotRegular}
	}
	return os.NewFile(uintptr(fd), where), nil
}
