package emulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"go.skiff.dev/skiff/test/vm/plan"
)

// Machine is a virtual machine that has not been started.
type Machine struct {
	Kernel Kernel
	// Init is the program that the kernel starts, and starts again on the disk.
	Init string
	// Modules are loaded before the disk is mounted, those of a step before it
	// runs, each with all that it depends on.
	Modules []string
	Disk    *Disk
	// Hybrid is the layout of cgroups, see plan.Plan.
	Hybrid bool
	// Systemd has Debian's systemd be process 1 on the disk; see Disk.Systemd.
	Systemd bool
	Steps   []plan.Step
	// Dir takes the machine's files; Console in it is the kernel's log.
	Dir string
}

// Console is the file with what the kernel says.
func (m Machine) Console() string { return filepath.Join(m.Dir, "console") }

const (
	memoryMiB = 3072
	cpus      = 2
	diskBytes = 4 << 30
)

// Run boots the machine and copies its report to w until it ends, or kills it with ctx. The disk is made at the first
// Run; a later one boots from it as the machine left it.
func (m Machine) Run(ctx context.Context, w io.Writer) error {
	image, initrd := filepath.Join(m.Dir, "disk"), filepath.Join(m.Dir, "initrd")
	if _, err := os.Stat(image); err != nil {
		if err := m.Disk.write(image, diskBytes); err != nil {
			return err
		}
	}
	if err := m.writeInitramfs(initrd); err != nil {
		return err
	}
	qemu := exec.CommandContext(ctx, "nice", append([]string{"-n", "10", "qemu-system-x86_64"}, m.arguments(image, initrd)...)...)
	qemu.Stdout = w
	qemu.Stderr = w
	err := runTied(qemu)
	if ctx.Err() != nil {
		return fmt.Errorf("the machine did not come to its end: %w", context.Cause(ctx))
	}
	return err
}

// runTied runs a command that ends with this process: a test that is killed leaves no emulator. The kernel sends the
// signal when the thread that made the command's process ends (prctl(2), PR_SET_PDEATHSIG), so that has to stay.
func runTied(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

// arguments is QEMU's command line. Timers that software emulation serves fast
// are chosen; the devices are those of every cloud.
func (m Machine) arguments(image, initrd string) []string {
	words := "console=ttyS0 loglevel=4 panic=-1 rdinit=/init mitigations=off tsc=reliable clocksource=tsc"
	if m.Systemd && m.Hybrid { // the second is for systemd 256 and 257; later ones have no version 1
		words += " systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
	}
	return []string{
		"-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memoryMiB),
		"-nodefaults", "-display", "none", "-no-reboot",
		"-kernel", m.Kernel.image, "-initrd", initrd,
		"-append", words,
		"-serial", "file:" + m.Console(), "-serial", "stdio",
		"-drive", "file=" + image + ",if=virtio,format=raw,cache=unsafe",
		"-nic", "user,model=virtio-net-pci,restrict=on",
		"-device", "virtio-rng-pci",
	}
}

// writeInitramfs packs the init program, the modules and the plan.
func (m Machine) writeInitramfs(path string) error {
	init, err := os.ReadFile(m.Init)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := &cpio{w: file}
	for _, dir := range []string{"dev", "proc", "sys", "new", plan.Modules[1:]} {
		archive.dir(dir)
	}
	p, err := m.plan(archive)
	if err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	archive.file(plan.File[1:], 0o644, text)
	archive.file("init", 0o755, init)
	return errors.Join(archive.end(), file.Close())
}

// plan names the modules in load order; each is packed once.
func (m Machine) plan(archive *cpio) (plan.Plan, error) {
	packed := map[string]bool{}
	pack := func(names []string) ([]string, error) {
		list, err := m.Kernel.modules.load(names)
		var order []string
		for _, mod := range list {
			order = append(order, mod.name)
			if !packed[mod.name] {
				packed[mod.name] = true
				archive.file(plan.Modules[1:]+"/"+mod.name, 0o644, mod.body)
			}
		}
		return order, err
	}
	p := plan.Plan{Systemd: m.Systemd, Hybrid: m.Hybrid}
	var err error
	if p.Modules, err = pack(m.Modules); err != nil {
		return p, err
	}
	for _, s := range m.Steps {
		if s.Modules, err = pack(s.Modules); err != nil {
			return p, err
		}
		p.Steps = append(p.Steps, s)
	}
	return p, nil
}
