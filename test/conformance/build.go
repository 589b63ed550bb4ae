package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.skiff.dev/skiff/test/conformance/images"
)

const suiteModule = "k8s.io/kubernetes"

// built is what a run needs.
type built struct {
	// suite and kubectl are programs, layout the directory of the images.
	suite, kubectl, layout string
	// module is where the suite's module lies, release its version.
	module, release string
}

// locate says where everything is, or will be.
func locate(ctx context.Context, o options) (built, error) {
	b := built{suite: filepath.Join(o.work, "e2e.test"), kubectl: filepath.Join(o.work, "kubectl"), layout: filepath.Join(o.work, "images")}
	where, err := goTool(ctx, "list", "-m", "-f", "{{.Dir}} {{.Version}}", suiteModule)
	if err != nil {
		return b, err
	}
	b.module, b.release, _ = strings.Cut(where, " ")
	if b.module == "" || b.release == "" {
		return b, fmt.Errorf("the module %s is not here; `go mod download` in test/conformance fetches it", suiteModule)
	}
	return b, os.MkdirAll(o.work, 0o755)
}

// build makes what is not made yet. The suite takes eight minutes on two cores
// when it is built for the first time.
func (b built) build(ctx context.Context, o options) error {
	version := "-s -w -X k8s.io/component-base/version.gitVersion=" + b.release + " -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
	if _, err := goTool(ctx, "test", "-c", "-vet=off", "-ldflags", version, "-o", b.suite, suiteModule+"/test/e2e"); err != nil {
		return err
	}
	if _, err := goTool(ctx, "build", "-ldflags", version, "-o", b.kubectl, suiteModule+"/cmd/kubectl"); err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	return images.Make(ctx, images.Paths{Cache: filepath.Join(o.work, "cache"), Out: b.layout, Module: here, Suite: b.module, Pause: o.pause})
}

func goTool(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
