package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/internal/config"
	"skiff.dev/skiff/internal/kernel/cgroup"
	"skiff.dev/skiff/internal/podnet"
)

// purgeStep removes one kind of trace.
type purgeStep struct {
	what string
	do   func(ctx context.Context, cfg *config.Config) error
}

// purgeSteps lists what a skiff leaves on a machine, in the order in which it
// can be removed: users of a thing before the thing.
func purgeSteps() []purgeStep {
	return []purgeStep{
		{"processes and cgroups", purgeCgroups},
		{"mounts", purgeMounts},
		{"network", purgeNetwork},
		{"contexts merged into kubeconfigs", purgeMerged},
		{"kubeconfig", purgeKubeconfig},
		{"container logs", purgeLogs},
		{"run directory", func(_ context.Context, c *config.Config) error { return os.RemoveAll(c.RunDir) }},
		{"data directory", func(_ context.Context, c *config.Config) error { return os.RemoveAll(c.DataDir) }},
	}
}

// Purge removes every trace of a skiff that is down. It goes on after an error,
// so that a second call has less to do.
func Purge(ctx context.Context, cfg config.Config, say func(string)) error {
	cfg, err := recall(cfg)
	if err != nil {
		return err
	}
	unlock, err := lock(&cfg)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for _, step := range purgeSteps() {
		if err := step.do(ctx, &cfg); err != nil {
			errs = append(errs, fmt.Errorf("removing the %s: %w", step.what, err))
			continue
		}
		say("removed " + step.what)
	}
	return errors.Join(errs...)
}

// purgeCgroups ends whatever still lives in the cgroup subtree and removes it.
func purgeCgroups(_ context.Context, cfg *config.Config) error {
	group, err := cgroup.New(cfg.CgroupParent())
	if err != nil {
		return err
	}
	if !group.Exists() {
		return nil
	}
	return errors.Join(group.Kill(unix.SIGKILL), group.Destroy())
}

// purgeMounts detaches every mount below our directories, the deepest first.
func purgeMounts(_ context.Context, cfg *config.Config) error {
	var errs []error
	for _, dir := range []string{cfg.DataDir, cfg.RunDir} {
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
		if err != nil {
			return err
		}
		for _, m := range slices.Backward(mounts) {
			if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil {
				errs = append(errs, fmt.Errorf("unmounting %s: %w", m.Mountpoint, err))
			}
		}
	}
	return errors.Join(errs...)
}

func purgeNetwork(_ context.Context, cfg *config.Config) error {
	network, err := podnet.New(podnet.Options{
		Name: cfg.Name, Bridge: cfg.BridgeName(), LinkPrefix: cfg.LinkPrefix(), Table: cfg.TableName(),
		PodCIDR: cfg.ClusterCIDR, ClusterCIDR: cfg.ClusterCIDR, ServiceCIDR: cfg.ServiceCIDR, StateDir: cfg.NetworkDir(),
	})
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil // without nftables no network of a skiff ever began
	}
	if err != nil {
		return err
	}
	return network.Teardown()
}

// purgeKubeconfig removes the kubeconfig, and its directory if nothing else is there.
func purgeKubeconfig(_ context.Context, cfg *config.Config) error {
	if err := os.Remove(cfg.Kubeconfig); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	removeEmpty(filepath.Dir(cfg.Kubeconfig))
	return nil
}

// purgeLogs removes the logs of this skiff's pods. The directory may be shared
// with another node agent of this machine, so only pods that this one knew go:
// each has a directory of its uid below the node agent's pods.
func purgeLogs(_ context.Context, cfg *config.Config) error {
	ours, err := os.ReadDir(filepath.Join(cfg.KubeletDir(), "pods"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	logs, err := os.ReadDir(cfg.LogDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, dir := range logs {
		for _, pod := range ours {
			if strings.HasSuffix(dir.Name(), "_"+pod.Name()) {
				if err := os.RemoveAll(filepath.Join(cfg.LogDir, dir.Name())); err != nil {
					return err
				}
			}
		}
	}
	removeEmpty(cfg.LogDir)
	if cfg.Name != config.DefaultName {
		removeEmpty(filepath.Dir(cfg.LogDir))
	}
	return nil
}

// removeEmpty removes a directory if it is empty; it is no error if it is not.
func removeEmpty(dir string) {
	// ENOTEMPTY is the answer that was hoped for where others use it too.
	_ = os.Remove(dir)
}
