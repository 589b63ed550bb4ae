package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// DropBare unmounts every whole procfs and sysfs of the caller's mount namespace but those below keep, or covers those
// that cannot be unmounted. While one is there the kernel lets the root of a user namespace mount another in all its
// glory (fs/namespace.c, mount_too_revealing).
func DropBare(keep string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(table)) {
		place, bare := barePlace(line)
		if !bare || keep != "/" && strings.HasPrefix(place, keep+"/") {
			continue
		}
		err := unix.Unmount(place, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) { // locked by the user namespace that it comes from
			err = unix.Mount("tmpfs", place, "tmpfs", 0, "")
		}
		if err != nil && !errors.Is(err, unix.ENOENT) { // it lies below one that is gone
			return fmt.Errorf("unmounting %s: %w", place, err)
		}
	}
	return nil
}

// barePlace reads a line of mountinfo (proc_pid_mountinfo(5)): the mount point, and whether a whole procfs or sysfs is
// there.
func barePlace(line string) (string, bool) {
	f := strings.Fields(line)
	if len(f) < 7 || f[3] != "/" {
		return "", false
	}
	for i, w := range f[6:] {
		if w == "-" && 6+i+1 < len(f) {
			kind := f[6+i+1]
			return unescape.Replace(f[4]), kind == "proc" || kind == "sysfs"
		}
	}
	return "", false
}

// unescape undoes what the kernel writes for characters that would break a line of mountinfo into wrong words.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
