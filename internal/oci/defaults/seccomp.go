package defaults

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Seccomp is the profile RuntimeDefault for a container with the capabilities named: what is not listed fails with
// EPERM, what is newer than the list with ENOSYS. Calls that only make sense with a capability come with it.
//
// Left out on purpose for everyone: kernel modules, kexec, swap, quota, keyrings (not namespaced), io_uring (a long row
// of privilege escalations), userfaultfd. clone3, whose flags lie in memory where no filter
// sees them, answers ENOSYS, and every libc falls back to clone.
func Seccomp(capabilities []string) *specs.LinuxSeccomp {
	has := func(c string) bool { return slices.Contains(capabilities, c) }
	eperm, enosys := uint(unix.EPERM), uint(unix.ENOSYS)
	s := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM},
		Syscalls:      []specs.LinuxSyscall{{Names: slices.Clone(allowed[:]), Action: specs.ActAllow}},
	}
	allow := func(names ...string) {
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: names, Action: specs.ActAllow})
	}
	for _, c := range withCapability {
		if has(c.capability) {
			allow(c.calls...)
		}
	}
	s.Syscalls = append(s.Syscalls, personalities()...)
	s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActAllow,
		// Virtual machine sockets are not namespaced: they reach the hypervisor.
		Args: []specs.LinuxSeccompArg{{Index: 0, Value: unix.AF_VSOCK, Op: specs.OpNotEqual}}})
	if has("CAP_SYS_ADMIN") {
		allow("clone", "clone3")
		return s
	}
	s.Syscalls = append(s.Syscalls,
		specs.LinuxSyscall{Names: []string{"clone"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: namespaceFlags, ValueTwo: 0, Op: specs.OpMaskedEqual}}},
		specs.LinuxSyscall{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys})
	return s
}

// personalities allows the execution domains that change nothing dangerous: Linux, its 32-bit view, and to ask.
func personalities() []specs.LinuxSyscall {
	var out []specs.LinuxSyscall
	for _, v := range []uint64{0, 0x0008, 0x20000, 0x20008, 0xffffffff} {
		out = append(out, specs.LinuxSyscall{Names: []string{"personality"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: v, Op: specs.OpEqualTo}}})
	}
	return out
}

// withCapability lists calls that the kernel would refuse anyway without the capability.
var withCapability = [...]struct {
	capability string
	calls      []string
}{
	{"CAP_DAC_READ_SEARCH", []string{"open_by_handle_at"}},
	{"CAP_SYS_ADMIN", []string{
		"bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "lsm_set_self_attr", "mount",
		"mount_setattr", "move_mount", "open_tree", "open_tree_attr", "perf_event_open", "quotactl", "quotactl_fd",
		"setdomainname", "sethostname", "setns", "syslog", "umount", "umount2", "unshare",
	}},
	{"CAP_SYS_BOOT", []string{"reboot"}},
	{"CAP_SYS_CHROOT", []string{"chroot"}},
	{"CAP_SYS_MODULE", []string{"delete_module", "finit_module", "init_module"}},
	{"CAP_SYS_PACCT", []string{"acct"}},
	{"CAP_SYS_PTRACE", []string{"kcmp", "pidfd_getfd", "process_madvise"}},
	{"CAP_SYS_RAWIO", []string{"ioperm", "iopl"}},
	{"CAP_SYS_TIME", []string{"clock_settime", "clock_settime64", "settimeofday", "stime"}},
	{"CAP_SYS_TTY_CONFIG", []string{"vhangup"}},
	{"CAP_SYS_NICE", []string{"get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"}},
	{"CAP_SYSLOG", []string{"syslog"}},
	{"CAP_BPF", []string{"bpf"}},
	{"CAP_PERFMON", []string{"perf_event_open"}},
}
