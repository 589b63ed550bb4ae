package oci

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

func TestBindAttrs(t *testing.T) {
	const (
		ro, nosuid, nodev, noexec = unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOSUID, unix.MOUNT_ATTR_NODEV, unix.MOUNT_ATTR_NOEXEC
		noatime, strict, nodir    = unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR_NODIRATIME
	)
	for _, c := range []struct {
		name    string
		options []string
		source  uint64
		want    uint64 // what the mount has in the end
		mapped  uint64 // and in a user namespace
		refused bool   // there
	}{
		{name: "one for another", options: []string{"ro"}, source: nosuid | nodev, want: ro, mapped: ro | nosuid | nodev},
		{name: "one is taken away", options: []string{"dev"}, source: ro | noexec | nodir, want: nodir, mapped: ro | noexec | nodir},
		{name: "the opposite", options: []string{"rw", "nosuid"}, source: ro, want: nosuid, refused: true},
		{name: "the opposite of nothing", options: []string{"rw", "nosuid"}, want: nosuid, mapped: nosuid},
		{name: "access times stay", options: []string{"ro", "exec"}, source: nosuid | noatime, want: ro | noatime, mapped: ro | nosuid | noatime},
		{name: "access times are not taken away", options: []string{"atime"}, source: noatime, want: noatime, mapped: noatime},
		{name: "relatime", options: []string{"relatime"}, source: noatime | nodir, refused: true},
		{name: "the same access times", options: []string{"noatime"}, source: noatime | ro, want: noatime, mapped: noatime | ro},
		{name: "of directories", options: []string{"nodiratime", "strictatime"}, source: noatime, want: nodir | strict, refused: true},
		{name: "of directories alone", options: []string{"nodiratime", "norelatime"}, source: noatime, want: nodir, refused: true},
	} {
		o := mount.ParseOptions(c.options)
		for _, mapped := range []bool{false, true} {
			a, err := replaceAttrs(&o, c.source, mapped)
			want := c.want
			if mapped {
				want = c.mapped
			}
			if refused := mapped && c.refused; refused || err != nil {
				if !refused || !errors.Is(err, unix.EPERM) {
					t.Errorf("%s, mapped %t: %v", c.name, mapped, err)
				}
				continue
			}
			if got := c.source&^a.Clear | a.Set; got != want {
				t.Errorf("%s, mapped %t: flags %#x, want %#x", c.name, mapped, got, want)
			}
		}
	}
}
