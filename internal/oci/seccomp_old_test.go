package oci

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestProfileWithoutOurCalls: a profile that forbids what init, but no program of the container, calls must not keep
// the container from starting, although it is loaded early when the process may gain privileges.
func TestProfileWithoutOurCalls(t *testing.T) {
	b := newBox(t, "echo runs")
	b.spec.Process.NoNewPrivileges = false
	b.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{
		Names:  []string{"close_range", "openat2", "move_mount", "fsopen", "pidfd_send_signal", "mount_setattr"},
		Action: specs.ActErrno,
	}}}
	if out, code := b.run(); out != "runs" || code != 0 {
		t.Errorf("output %q, exit code %d", out, code)
	}
}
