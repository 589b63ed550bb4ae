package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/vm/plan"
)

// mountPoint is one mount of the system.
type mountPoint struct {
	kind, target string
	flags        uintptr
	data         string
}

const guarded = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// early is what the initramfs needs, and moves to the disk's root.
func early() []mountPoint {
	return []mountPoint{
		{"devtmpfs", "/dev", unix.MS_NOSUID, "mode=0755"},
		{"proc", "/proc", guarded, ""},
		{"sysfs", "/sys", guarded, ""},
	}
}

// cgroups are version 2 alone, or the hybrid of both.
func cgroups(hybrid bool) []mountPoint {
	if !hybrid {
		return []mountPoint{{"cgroup2", "/sys/fs/cgroup", guarded, "nsdelegate,memory_recursiveprot"}}
	}
	list := []mountPoint{{"tmpfs", "/sys/fs/cgroup", guarded, "mode=0755"}, {"cgroup2", "/sys/fs/cgroup/unified", guarded, "nsdelegate"},
		{"cgroup", "/sys/fs/cgroup/systemd", guarded, "none,name=systemd"}}
	for _, c := range []string{"cpu,cpuacct", "cpuset", "memory", "pids", "blkio", "devices", "freezer", "hugetlb"} {
		list = append(list, mountPoint{"cgroup", "/sys/fs/cgroup/" + c, guarded, c})
	}
	return list
}

// system is what an init such as systemd mounts.
func system(hybrid bool) []mountPoint {
	return append(cgroups(hybrid), []mountPoint{
		{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=000"},
		{"tmpfs", "/dev/shm", unix.MS_NOSUID | unix.MS_NODEV, ""},
		{"mqueue", "/dev/mqueue", guarded, ""},
		{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"bpf", "/sys/fs/bpf", guarded, "mode=700"},
	}...)
}

func (m mountPoint) mount() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.data); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mounting %s: %w", m.target, err)
	}
	return nil
}

// systemd is where Debian has it.
const systemd = "/lib/systemd/systemd"

// initramfs loads the modules and goes over to the disk. A real root matters:
// pivot_root does not work on the root of an initramfs.
func initramfs() error {
	for _, m := range early() {
		if err := m.mount(); err != nil {
			return err
		}
	}
	p, err := readPlan()
	if err != nil {
		return err
	}
	if err := loadModules(p.Modules); err != nil {
		return err
	}
	const disk, root = "/dev/vda", "/new"
	if err := appear(disk); err != nil {
		return err
	}
	if err := unix.Mount(disk, root, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", disk, err)
	}
	if err := carry(root, map[string]string{"/init": plan.Guest, plan.File: plan.File, plan.Modules: plan.Modules}); err != nil {
		return err
	}
	for _, m := range early() {
		if err := unix.Mount(m.target, root+m.target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("moving %s: %w", m.target, err)
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the root: %w", err)
	}
	if err := errors.Join(unix.Chroot("."), os.Chdir("/"), unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")); err != nil {
		return fmt.Errorf("entering the disk: %w", err)
	}
	if p.Systemd {
		return unix.Exec(systemd, []string{systemd}, os.Environ())
	}
	return unix.Exec(plan.Guest, []string{"init", stageDisk}, os.Environ())
}

// carry copies files and directories to other names below root.
func carry(root string, names map[string]string) error {
	for from, to := range names {
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		if info.IsDir() {
			if err := os.RemoveAll(root + to); err != nil { // of an earlier boot
				return err
			}
			if err := os.CopyFS(root+to, os.DirFS(from)); err != nil {
				return err
			}
			continue
		}
		body, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(root+to, body, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func readPlan() (plan.Plan, error) {
	var p plan.Plan
	data, err := os.ReadFile(plan.File)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("reading the plan: %w", err)
	}
	return p, nil
}

func loadModules(names []string) error {
	for _, name := range names {
		body, err := os.ReadFile(filepath.Join(plan.Modules, name))
		if err != nil {
			return err
		}
		if err := unix.InitModule(body, ""); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("loading module %q: %w", name, err)
		}
	}
	return nil
}

// appear waits until the kernel has found a device; devtmpfs has no events of
// its own.
func appear(device string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	const patience = 3000
	for range patience {
		if _, err := os.Stat(device); err == nil {
			return nil
		}
		<-tick.C
	}
	return fmt.Errorf("%s did not appear", device)
}

func mountSystem(hybrid bool) error {
	for _, m := range system(hybrid) {
		if err := m.mount(); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, link); err != nil && !os.IsExist(err) {
			return err
		}
	}
	return unix.Sethostname([]byte("vm"))
}

// network sets up the address that QEMU's user network gives its one guest.
func network() error {
	for _, line := range []string{
		"link set lo up",
		"link set eth0 up",
		"address add 10.0.2.15/24 dev eth0",
		"route add default via 10.0.2.2",
	} {
		if out, err := exec.Command("/bin/ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", line, err, out)
		}
	}
	return nil
}
