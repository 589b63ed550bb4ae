package oci

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestProfileWithoutOurCalls: a profile that forbids what init, but no program of the container, calls must not keep
// the container from starting, although it is loaded early when the process may gain privileges.
func TestProfileWithoutOurCalls(t *testing.T) {
	for _, uid := range []uint32{0, 1000} {
		withoutOurCalls(t, uid)
	}
}

func withoutOurCalls(t *testing.T, uid uint32) {
	t.Helper()
	b := newBox(t, "echo runs; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status")
	b.spec.Process.User.UID = uid
	if uid != 0 {
		b.spec.Process.Capabilities = nil
	}
	b.spec.Process.NoNewPrivileges = false
	b.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{
		Names:  []string{"close_range", "getcwd", "openat2", "move_mount", "fsopen", "pidfd_send_signal", "mount_setattr"},
		Action: specs.ActErrno,
	}}}
	out, code := b.run()
	if !strings.HasPrefix(out, "runs") || !strings.HasSuffix(out, "Seccomp:\t2") || code != 0 {
		t.Errorf("output %q, exit code %d", out, code)
	}
	if uid != 0 && !strings.Contains(out, "CapEff:\t0000000000000000") {
		t.Errorf("capabilities are left to a user without: %q", out)
	}
}
