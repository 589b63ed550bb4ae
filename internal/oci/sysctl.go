package oci

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// planSysctls turns names into paths below /proc/sys, in a fixed order.
func planSysctls(m map[string]string) []pair {
	var out []pair
	for k, v := range m {
		out = append(out, pair{sysctlPath(k), v})
	}
	slices.SortFunc(out, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return out
}

// sysctlPath understands both spellings of sysctl(8): "net.ipv4.conf.eth0/1.forwarding" and
// "net/ipv4/conf/eth0.1/forwarding"; the first separator decides.
func sysctlPath(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '/' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}

// ipcSysctls belong to the ipc namespace (ipc/ipc_sysctl.c); fs/mqueue does too.
var ipcSysctls = [...]string{
	"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni",
	"kernel/shm_rmid_forced", "kernel/auto_msgmni", "kernel/msg_next_id", "kernel/sem_next_id", "kernel/shm_next_id",
}

// validSysctl lets through only what a namespace of the container's own holds: everything else is the host's.
// A name is letters, digits and a few signs, so that no path can be smuggled in (CVE-2022-0811).
func validSysctl(name, value string, ns uint64, sharesHost func(flag uint64) bool) error {
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./", r)) {
			return fmt.Errorf("linux.sysctl[%q]: the name may hold letters, digits and _-./ only", name)
		}
	}
	p := sysctlPath(name)
	for e := range strings.SplitSeq(p, "/") {
		if e == "" || e == "." || e == ".." {
			return fmt.Errorf("linux.sysctl[%q]: the name has an empty or relative part", name)
		}
	}
	if strings.ContainsAny(value, "\n\x00") {
		return fmt.Errorf("linux.sysctl[%q]: the value has more than one line", name)
	}
	need := func(flag uint64, kind string) error {
		if ns&flag == 0 || sharesHost(flag) {
			return fmt.Errorf("linux.sysctl[%q]: sysctl %q is not allowed in the host's %s namespace", name, name, kind)
		}
		return nil
	}
	switch {
	case strings.HasPrefix(p, "net/"):
		return need(unix.CLONE_NEWNET, "network")
	case strings.HasPrefix(p, "fs/mqueue/"), slices.Contains(ipcSysctls[:], p):
		return need(unix.CLONE_NEWIPC, "ipc")
	case p == "kernel/domainname":
		return need(unix.CLONE_NEWUTS, "uts")
	case p == "kernel/hostname":
		return fmt.Errorf("linux.sysctl[%q]: set hostname in its own field", name)
	case strings.HasPrefix(p, "user/"):
		return need(unix.CLONE_NEWUSER, "user")
	}
	return fmt.Errorf("linux.sysctl[%q]: sysctl %q is not in a separate kernel namespace", name, name)
}
