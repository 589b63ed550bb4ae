//go:build linux

package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// paxXattr starts the PAX records that carry extended attributes.
const paxXattr = "SCHILY.xattr."

// permissions of a tar header, with set-user-id, set-group-id and sticky bits.
func permissions(hdr *tar.Header) uint32 { return uint32(hdr.Mode) & 0o7777 }

// setFD sets owner, permissions and attributes of an open file or directory.
// In this order, as a change of owner clears set-id bits and capabilities.
func setFD(fd int, hdr *tar.Header) error {
	if err := rootfd.SetOwner(fd, hdr.Uid, hdr.Gid); err != nil {
		return err
	}
	if err := rootfd.SetMode(fd, permissions(hdr)); err != nil {
		return err
	}
	return eachXattr(hdr, func(name string, value []byte) error { return rootfd.SetAttr(fd, name, value) })
}

// setNamed does the same for a fifo or device, which must not be opened.
func setNamed(at place, hdr *tar.Header) error {
	if err := at.dir.Chown(at.base, hdr.Uid, hdr.Gid); err != nil {
		return fmt.Errorf("fchownat: %w", err)
	}
	if err := at.dir.Chmod(at.base, permissions(hdr)); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	return wrapCall("utimensat", at.dir.SetTimes(at.base, hdr.ModTime))
}

func eachXattr(hdr *tar.Header, set func(name string, value []byte) error) error {
	for k, v := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(k, paxXattr)
		if !ok || !rootfd.ImageAttr(name) {
			continue
		}
		err := set(name, []byte(v))
		// A file system without attributes is the node's choice; the image
		// still runs, as with every other unpacker.
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}

func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range hdr.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}
