// Package defaults is what a container gets when nobody says otherwise: capabilities, namespaces, mounts, masked and
// read-only paths, devices and the seccomp profile. The CRI builds its configurations from it, `skiff-oci spec` prints
// one. Every function returns fresh values that the caller may change.
package defaults

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Capabilities are the nine of CRI-O's defaults; the absence of NET_RAW is made up for by ping_group_range (Sysctls).
// Not among them, unlike Docker's fourteen: MKNOD, NET_RAW, SETFCAP, SYS_CHROOT, AUDIT_WRITE.
func Capabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
		"CAP_NET_BIND_SERVICE", "CAP_KILL",
	}
}

// Sysctls give what the missing capabilities are mostly wanted for, inside a network namespace of the pod's own:
// ping without NET_RAW (Linux 3.0) and ports below 1024 for everyone (4.11), as containerd offers them.
func Sysctls() map[string]string {
	return map[string]string{
		"net.ipv4.ping_group_range":           "0 2147483647",
		"net.ipv4.ip_unprivileged_port_start": "0",
	}
}

// CapabilitySets puts one list into the sets that a process needs. Inheritable and ambient stay empty, so that a
// program run by another user than root has none (CVE-2022-29162).
func CapabilitySets(list []string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: list, Effective: list, Permitted: list}
}

// MaskedPaths are those of the kubelet (1.36) and of the kernel interfaces that leak from host to container.
func MaskedPaths() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
		"/sys/firmware", "/sys/devices/virtual/powercap",
	}
}

// ReadonlyPaths may be looked at and not written to.
func ReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// Mounts are the file systems of runtime-spec ("Default Filesystems") and the cgroup's own view.
func Mounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

// DeviceRules deny everything; the runtime adds the nodes that every container has.
func DeviceRules() []specs.LinuxDeviceCgroup {
	return []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
}

// Namespaces are all that a container of its own has, apart from user and time.
func Namespaces() []specs.LinuxNamespace {
	return []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
	}
}

// Env is what a process has before its image and its pod add theirs.
func Env() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
}

// Spec is a whole configuration that runs a shell in ./rootfs.
func Spec() *specs.Spec {
	caps := CapabilitySets([]string{"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"})
	return &specs.Spec{
		Version:  specs.Version,
		Hostname: "skiff",
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{
			Terminal: true, Args: []string{"sh"}, Env: append(Env(), "TERM=xterm"), Cwd: "/",
			NoNewPrivileges: true, Capabilities: caps,
			Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 1024}},
		},
		Mounts: Mounts(),
		Linux: &specs.Linux{
			Resources:   &specs.LinuxResources{Devices: DeviceRules()},
			Namespaces:  Namespaces(),
			MaskedPaths: MaskedPaths(), ReadonlyPaths: ReadonlyPaths(),
		},
	}
}

// namespaceFlags are the flags of clone that make namespaces.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
