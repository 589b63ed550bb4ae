// Package caps applies Linux capabilities to the calling thread, which must be locked.
package caps

import (
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Set is a set of capabilities, bit N for capability N.
type Set uint64

// Names in the order of their numbers, include/uapi/linux/capability.h.
var names = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// All names every capability that this package knows, with the prefix CAP_.
func All() []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "CAP_" + n
	}
	return out
}

// Parse makes a set of names such as "CAP_CHOWN"; those that are not known are returned, to warn of them
// (runtime-spec: "MUST ... log a warning" for capabilities that cannot be granted).
func Parse(list []string) (s Set, unknown []string) {
next:
	for _, w := range list {
		short, ok := strings.CutPrefix(strings.ToUpper(w), "CAP_")
		for i, n := range names {
			if ok && n == short {
				s |= 1 << i
				continue next
			}
		}
		unknown = append(unknown, w)
	}
	return s, unknown
}

// Has tells whether capability number n is in s.
func (s Set) Has(n int) bool { return s&(1<<n) != 0 }

// Names are the members as a configuration writes them; one that this package does not know is a number.
func (s Set) Names() (out []string) {
	for n := range 64 {
		switch {
		case !s.Has(n):
		case n < len(names):
			out = append(out, "CAP_"+names[n])
		default:
			out = append(out, strconv.Itoa(n))
		}
	}
	return out
}

// Len counts the members.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

// Current reads the calling thread's sets.
func Current() (effective, permitted, inheritable Set, err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&hdr, &d[0]); err != nil {
		return 0, 0, 0, os.NewSyscallError("capget", err)
	}
	join := func(lo, hi uint32) Set { return Set(lo) | Set(hi)<<32 }
	return join(d[0].Effective, d[1].Effective), join(d[0].Permitted, d[1].Permitted),
		join(d[0].Inheritable, d[1].Inheritable), nil
}

// DropBounding leaves only keep in the bounding set. It needs CAP_SETPCAP, so it comes before Apply.
func DropBounding(keep Set) error {
	for n := range 64 {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err == unix.EINVAL {
			return nil // past the kernel's last capability
		}
		if err != nil {
			return os.NewSyscallError("prctl PR_CAPBSET_READ", err)
		}
		if has == 0 || keep.Has(n) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
			return fmt.Errorf("dropping capability %d: prctl PR_CAPBSET_DROP: %w", n, err)
		}
	}
	return nil
}

// Apply sets the effective, permitted and inheritable sets of the calling thread.
func Apply(effective, permitted, inheritable Set) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	d := [2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted), Inheritable: uint32(inheritable)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32), Inheritable: uint32(inheritable >> 32)},
	}
	return os.NewSyscallError("capset", unix.Capset(&hdr, &d[0]))
}

// Ambient replaces the ambient set. Members must be permitted and inheritable; others are left out and returned.
func Ambient(s Set) (refused Set, err error) {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return 0, os.NewSyscallError("prctl PR_CAP_AMBIENT_CLEAR_ALL", err)
	}
	for n := range 64 {
		if s.Has(n) && unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0) != nil {
			refused |= 1 << n
		}
	}
	return refused, nil
}
