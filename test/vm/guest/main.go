// Guest is the init of the test's virtual machines. In the initramfs it loads
// the kernel's modules and changes to the disk; there it sets up what a
// distribution's init would, or leaves that to Debian's systemd, runs the
// plan's steps, reports, and ends the machine. As process 1 it does nothing
// but reap: a child of it does the work.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/test/vm/plan"
)

// The stages, by the program's first argument.
const (
	stageDisk = "disk"
	stageWork = plan.Work
)

func main() {
	stage, run := "", map[string]func() error{"": initramfs, stageDisk: reap, stageWork: work}
	if len(os.Args) > 1 {
		stage = os.Args[1]
	}
	if err := run[stage](); err != nil {
		// On the console; the kernel panics when process 1 ends, and QEMU ends
		// with it.
		fmt.Printf("vm init, stage %q: %v\n", stage, err)
		os.Exit(1)
	}
}

// reap starts the worker and takes the orphans of the machine.
func reap() error {
	worker, err := os.StartProcess("/proc/self/exe", []string{"init", stageWork}, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return fmt.Errorf("starting the worker: %w", err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("waiting for children: %w", err)
		}
		if pid == worker.Pid {
			return fmt.Errorf("the worker ended with %d", status.ExitStatus())
		}
	}
}

func work() error {
	for name, value := range map[string]string{"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "dumb"} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	p, err := readPlan()
	if err != nil {
		return err
	}
	if !p.Systemd {
		if err := mountSystem(p.Hybrid); err != nil {
			return err
		}
	}
	out, err := openReport()
	if err != nil {
		return err
	}
	if err := network(); err != nil {
		return err
	}
	out.describe()
	for _, s := range p.Steps {
		out.run(s)
	}
	out.tell(plan.Event{Done: true})
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func command(s plan.Step) *exec.Cmd {
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Dir, cmd.Env = s.Dir, append(os.Environ(), s.Env...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}
