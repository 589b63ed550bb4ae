// Package ocitest builds skiff-oci for tests that run real containers.
package ocitest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.skiff.dev/skiff/internal/ocibin"
)

// Path names a skiff-oci program: the one in SKIFF_OCI, or one that is built now, once per test binary's temporary
// directory. The go command is the one that runs the tests.
func Path(tb testing.TB) string {
	tb.Helper()
	if p := os.Getenv(ocibin.EnvOverride); p != "" {
		return p
	}
	out := filepath.Join(tb.TempDir(), "skiff-oci")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "go.skiff.dev/skiff/cmd/skiff-oci")
	cmd.Dir = moduleRoot(tb)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if msg, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("building skiff-oci: %v\n%s", err, msg)
	}
	return out
}

// Use makes ocibin.Open give the program under test.
func Use(tb testing.TB) {
	tb.Helper()
	if os.Getenv(ocibin.EnvOverride) != "" {
		return
	}
	p := Path(tb)
	old, had := os.LookupEnv(ocibin.EnvOverride)
	os.Setenv(ocibin.EnvOverride, p)
	tb.Cleanup(func() {
		if had {
			os.Setenv(ocibin.EnvOverride, old)
		} else {
			os.Unsetenv(ocibin.EnvOverride)
		}
	})
}

func moduleRoot(tb testing.TB) string {
	tb.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		tb.Fatalf("finding the module: %v", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}
