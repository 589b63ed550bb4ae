package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

const suiteModule = "sigs.k8s.io/cri-tools"

// suiteVersion is the newest that the Go proxy serves.
const suiteVersion = "v1.37.0"

var oldDigest = regexp.MustCompile(`test-image-digest@sha256:[0-9a-f]{64}`)

// build makes the suite from its module, in a module of its own so that it
// leaves no trace in ours.
func build(ctx context.Context, dir, out string, named digest.Digest) error {
	module := filepath.Join(dir, "module")
	if err := os.Mkdir(module, 0o755); err != nil {
		return err
	}
	run := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
		cmd.Stderr = os.Stderr
		return cmd.Output()
	}
	if _, err := run("mod", "init", "critest"); err != nil {
		return fmt.Errorf("building the suite: %w", err)
	}
	if _, err := run("get", suiteModule+"@"+suiteVersion); err != nil {
		return fmt.Errorf("building the suite: %w", err)
	}
	source, err := run("list", "-m", "-f", "{{.Dir}}", suiteModule)
	if err != nil {
		return fmt.Errorf("building the suite: %w", err)
	}
	consts := filepath.Join(strings.TrimSpace(string(source)), "pkg/validate/consts.go")
	text, err := os.ReadFile(consts)
	if err != nil {
		return fmt.Errorf("building the suite: %w", err)
	}
	ours := filepath.Join(dir, "consts.go")
	if err := os.WriteFile(ours, oldDigest.ReplaceAll(text, []byte("test-image-digest@"+named.String())), 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{consts: ours}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		return err
	}
	if _, err := run("test", "-c", "-overlay", filepath.Join(dir, "overlay.json"), "-o", out, suiteModule+"/cmd/critest"); err != nil {
		return fmt.Errorf("building the suite: %w", err)
	}
	return nil
}
