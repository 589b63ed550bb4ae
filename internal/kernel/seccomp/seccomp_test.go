package seccomp_test

import (
	"testing"

	"skiff.dev/skiff/internal/kernel/seccomp"
	"skiff.dev/skiff/internal/oci/defaults"
)

func BenchmarkCompileDefault(b *testing.B) {
	s := defaults.Seccomp(defaults.Capabilities())
	for b.Loop() {
		if _, err := seccomp.Compile(s); err != nil {
			b.Fatal(err)
		}
	}
}
