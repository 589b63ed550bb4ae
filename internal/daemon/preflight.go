package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.skiff.dev/skiff/internal/config"
)

// need is a feature of the kernel without which no pod can run.
type need struct {
	name string
	met  func() bool
	// wayOut says what to do where it is missing.
	wayOut string
}

// needs lists what the kernel must have, in the order in which it is checked.
func needs(snapshotter string) []need {
	list := []need{
		{"network namespaces", exists("/proc/self/ns/net"), "use a kernel with CONFIG_NET_NS"},
		{"pid namespaces", exists("/proc/self/ns/pid"), "use a kernel with CONFIG_PID_NS"},
		{"ipc namespaces", exists("/proc/self/ns/ipc"), "use a kernel with CONFIG_IPC_NS"},
		{"cgroup namespaces", exists("/proc/self/ns/cgroup"), "use a kernel with CONFIG_CGROUPS (4.6 or newer)"},
		{"cgroup controllers cpu, memory and pids", hasControllers, "mount cgroup v2 at /sys/fs/cgroup; on a Raspberry Pi add cgroup_enable=memory to the kernel's command line"},
	}
	if snapshotter != config.SnapshotterNative {
		list = append(list, need{"overlayfs", hasOverlay, "load it with `modprobe overlay`, use a kernel with CONFIG_OVERLAY_FS, or do without by `--snapshotter native`"})
	}
	return list
}

// preflight tells every missing feature at once.
func preflight(snapshotter string) error {
	if os.Geteuid() != 0 {
		return errors.New("skiff needs root: it makes namespaces, cgroups and network links; run it with sudo")
	}
	var missing []error
	for _, n := range needs(snapshotter) {
		if !n.met() {
			missing = append(missing, fmt.Errorf("this kernel lacks %s: %s", n.name, n.wayOut))
		}
	}
	return errors.Join(missing...)
}

func exists(path string) func() bool {
	return func() bool {
		_, err := os.Stat(path)
		return err == nil
	}
}

// hasControllers looks at cgroup v2 first, then at v1's mounts.
func hasControllers() bool {
	wanted := []string{"cpu", "memory", "pids"}
	if data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		have := strings.Fields(string(data))
		return !slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(have, w) })
	}
	for _, w := range wanted {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", w, "cgroup.procs")); err != nil {
			return false
		}
	}
	return true
}

// hasOverlay believes /proc/filesystems; a kernel that can load the module on
// demand lists it only after the first mount, so its file counts as well.
func hasOverlay() bool {
	data, err := os.ReadFile("/proc/filesystems")
	if err != nil || bytes.Contains(data, []byte("\toverlay\n")) {
		return true
	}
	var release []byte
	if release, err = os.ReadFile("/proc/sys/kernel/osrelease"); err != nil {
		return false
	}
	found, err := filepath.Glob(filepath.Join("/lib/modules", strings.TrimSpace(string(release)), "kernel/fs/overlayfs/overlay.ko*"))
	return err == nil && len(found) > 0
}
