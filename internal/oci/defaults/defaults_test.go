package defaults_test

import (
	"slices"
	"testing"

	"go.skiff.dev/skiff/internal/kernel/seccomp"
	"go.skiff.dev/skiff/internal/oci"
	"go.skiff.dev/skiff/internal/oci/defaults"
)

func TestSpecIsValid(t *testing.T) {
	if err := oci.Validate(defaults.Spec()); err != nil {
		t.Error(err)
	}
}

// TestSeccompNames finds misspelt calls: each is known to some architecture we compile for.
func TestSeccompNames(t *testing.T) {
	// Calls of arm, s390 or old kernels alone, which the tables of this machine need not know.
	foreign := []string{"arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2",
		"recvmmsg_time64", "lookup_dcookie", "uretprobe", "fstatat64", "recv", "send", "accept", "ugetrlimit"}
	for _, s := range defaults.Seccomp([]string{"CAP_SYS_ADMIN"}).Syscalls {
		for _, n := range s.Names {
			if !seccomp.Known(n) && !slices.Contains(foreign, n) {
				t.Errorf("%q is not a system call", n)
			}
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	s := defaults.Seccomp(defaults.Capabilities())
	for b.Loop() {
		if _, err := seccomp.Compile(s); err != nil {
			b.Fatal(err)
		}
	}
}
