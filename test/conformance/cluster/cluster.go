// Package cluster starts the skiff that is judged, on names, directories and
// ports of its own, and looks at what tests leave in it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// name is that of the skiff, so also of its cgroups, links and table.
const name = "conformance"

// Cluster is a running skiff.
type Cluster struct {
	// Binary is the program, Dir where everything of it lies, Kubectl a kubectl
	// that is not its own.
	Binary, Dir, Kubectl string
	// before is what was on the host when nothing ran yet.
	before map[string]bool
}

// Start starts a skiff whose registries are mirrored by one on loopback.
func Start(ctx context.Context, binary, kubectl, mirror string, hosts []string) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "skiff-conformance-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Binary: binary, Dir: dir, Kubectl: kubectl}
	var settings strings.Builder
	settings.WriteString("mirrors:\n")
	for _, h := range hosts {
		fmt.Fprintf(&settings, "  %s:\n    endpoint: [%s]\n", h, mirror)
	}
	registries := filepath.Join(dir, "registries.yaml")
	if err := os.WriteFile(registries, []byte(settings.String()), 0o600); err != nil {
		return nil, err
	}
	err = c.skiff(ctx, "up", "--detach", "--api-port=26443", "--kubelet-port=20251", "--log-dir="+dir+"/logs", "--registries="+registries)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting skiff: %w", err), c.Remove())
	}
	return c, nil
}

// Kubeconfig is the administrator's.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.Dir, "kubeconfig.yaml") }

// Import imports the images of a layout.
func (c *Cluster) Import(ctx context.Context, layout string) error {
	return c.skiff(ctx, "image", "import", layout)
}

func (c *Cluster) skiff(ctx context.Context, verb string, args ...string) error {
	args = append([]string{verb}, append(args, "--name="+name, "--data-dir="+c.Dir+"/data", "--run-dir="+c.Dir+"/run", "--kubeconfig="+c.Kubeconfig())...)
	cmd := exec.CommandContext(ctx, c.Binary, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", verb, err, out)
	}
	return nil
}

// kubectl runs kubectl as administrator and returns what it wrote.
func (c *Cluster) kubectl(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.Kubectl, append([]string{"--kubeconfig=" + c.Kubeconfig(), "--cache-dir=" + filepath.Join(c.Dir, "kubectl"), "--request-timeout=30s"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// KeepLog copies the daemon's log before it is removed.
func (c *Cluster) KeepLog(to string) error {
	data, err := os.ReadFile(filepath.Join(c.Dir, "data", "skiff.log"))
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// Remove removes every trace of it, also when the run was broken off.
func (c *Cluster) Remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := c.skiff(ctx, "down", "--purge"); err != nil {
		return err
	}
	return os.RemoveAll(c.Dir)
}
