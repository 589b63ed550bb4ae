package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// suite is the newest that the Go proxy serves.
const suite = "sigs.k8s.io/cri-tools@v1.37.0"

var byDigestName = regexp.MustCompile(`test-image-digest@sha256:[0-9a-f]{64}`)

// build makes the suite from a copy of its module.
func build(ctx context.Context, dir, out string, named digest.Digest) error {
	if _, err := goTool(ctx, dir, "mod", "download", suite); err != nil {
		return fmt.Errorf("downloading the suite: %w", err)
	}
	cache, err := goTool(ctx, dir, "env", "GOMODCACHE")
	if err != nil {
		return fmt.Errorf("finding the suite: %w", err)
	}
	module := filepath.Join(dir, "suite")
	if err := copyModule(module, filepath.Join(cache, suite)); err != nil {
		return fmt.Errorf("copying the suite: %w", err)
	}
	consts := filepath.Join(module, "pkg/validate/consts.go")
	text, err := os.ReadFile(consts)
	if err != nil {
		return fmt.Errorf("reading the suite: %w", err)
	}
	if err := os.WriteFile(consts, byDigestName.ReplaceAll(text, []byte("test-image-digest@"+named.String())), 0o600); err != nil {
		return err
	}
	if _, err := goTool(ctx, module, "test", "-c", "-o", out, "./cmd/critest"); err != nil {
		return fmt.Errorf("building the suite: %w", err)
	}
	return nil
}

func goTool(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// copyModule copies a module of the cache, where all is read-only.
func copyModule(to, from string) error {
	return filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
}
