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

	"go.skiff.dev/skiff/internal/config"
	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/podnet"
)

// purgeStep removes one kind of trace.
type purgeStep struct {
	what string
	do   func(ctx context.Context, cfg *config.Config) error
	// kept, if set, says what the step left where it is, or "".
	kept func(cfg *config.Config) string
}

// hostSteps lists what a skiff that is down leaves in the kernel, in the order
// in which it can be removed: users of a thing before the thing.
func hostSteps() []purgeStep {
	return []purgeStep{
		{what: "processes and cgroups", do: purgeCgroups},
		{what: "mounts", do: purgeMounts},
		{what: "network", do: purgeNetwork},
	}
}

// fileSteps lists what it leaves on disk: the cluster itself.
func fileSteps() []purgeStep {
	return []purgeStep{
		{what: "contexts merged into kubeconfigs", do: purgeMerged},
		{what: "kubeconfig", do: purgeKubeconfig},
		{what: "container logs", do: purgeLogs},
		{what: "run directory", do: func(_ context.Context, c *config.Config) error { return removeTree(c.RunDir) }},
		{what: "data directory", do: purgeData, kept: keptArchives},
	}
}

// Purge removes every trace of a skiff that is down.
func Purge(ctx context.Context, cfg config.Config, say func(string)) error {
	return undo(ctx, cfg, append(hostSteps(), fileSteps()...), say)
}

// undo takes the steps while no daemon can start. It goes on after an error,
// so that a second call has less to do.
func undo(ctx context.Context, cfg config.Config, steps []purgeStep, say func(string)) error {
	cfg, err := recall(cfg)
	if err != nil {
		return err
	}
	unlock, err := lock(&cfg)
	if err != nil {
		return err
	}
	defer unlock()
	return take(ctx, &cfg, steps, say)
}

func take(ctx context.Context, cfg *config.Config, steps []purgeStep, say func(string)) error {
	var errs []error
	for _, step := range steps {
		if err := step.do(ctx, cfg); err != nil {
			errs = append(errs, fmt.Errorf("removing the %s: %w", step.what, err))
			continue
		}
		say("removed " + step.what)
		if step.kept == nil {
			continue
		}
		if kept := step.kept(cfg); kept != "" {
			say(kept)
		}
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

// purgeMounts detaches every mount that skiff made, the deepest first. Only
// places where skiff mounts are looked at: a disk that somebody mounted at the
// data directory, or at a directory in it, stays.
func purgeMounts(_ context.Context, cfg *config.Config) error {
	var errs []error
	for _, dir := range []string{cfg.ContainerDir(), filepath.Join(cfg.KubeletDir(), "pods"), filepath.Join(cfg.RunDir, "sandboxes")} {
		mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
		if err != nil {
			return err
		}
		for _, m := range slices.Backward(mounts) {
			if m.Mountpoint == dir {
				continue
			}
			if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil {
				errs = append(errs, fmt.Errorf("unmounting %s: %w", m.Mountpoint, err))
			}
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a directory; one that is a mount point is only emptied.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if errors.Is(err, unix.EBUSY) {
		left, readErr := os.ReadDir(dir)
		if readErr == nil && len(left) == 0 {
			return nil
		}
	}
	return err
}

// purgeData removes the cluster itself. Archives of images are files that
// somebody put there, perhaps the only copy on a machine without a registry:
// they are no trace of skiff, and stay.
func purgeData(_ context.Context, cfg *config.Config) error {
	removeEmpty(cfg.ArchiveDir())
	entries, err := os.ReadDir(cfg.DataDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		if path := filepath.Join(cfg.DataDir, e.Name()); path != cfg.ArchiveDir() {
			errs = append(errs, removeTree(path))
		}
	}
	if keptArchives(cfg) == "" {
		errs = append(errs, removeTree(cfg.DataDir))
	}
	return errors.Join(errs...)
}

func keptArchives(cfg *config.Config) string {
	if es, err := os.ReadDir(cfg.ArchiveDir()); err != nil || len(es) == 0 {
		return ""
	}
	return "kept the archives of images in " + cfg.ArchiveDir()
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
