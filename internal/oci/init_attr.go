package oci

import (
	"bytes"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// applyAttributes sets scheduler, priorities, affinity and personality, which need rights that the container's user
// may not have.
func (s *initState) applyAttributes() error {
	p := &s.process
	if len(p.affinity) > 0 {
		if err := setAffinity(p.affinity); err != nil {
			return fmt.Errorf("process.execCPUAffinity.final: %w", err)
		}
	} else if !p.keepAffinity {
		// The CPUs that the caller confined itself to are not the container's: those are in its cgroup, and the kernel
		// keeps to them (since 6.2 it remembers what was asked for across a change of cgroup).
		_ = setAffinity(bytes.Repeat([]byte{0xff}, maxCPUs/8))
	}
	if p.scheduler.set {
		a := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: uint32(p.scheduler.policy), Flags: p.scheduler.flags,
			Nice: int32(p.scheduler.nice), Priority: uint32(p.scheduler.prio), Runtime: p.scheduler.runtime,
			Deadline: p.scheduler.deadline, Period: p.scheduler.period}
		if err := unix.SchedSetAttr(0, &a, 0); err == unix.EPERM && p.scheduler.confined {
			// sched_setattr(2): a deadline is for processes that may run on every CPU
			return fmt.Errorf("process.scheduler: process scheduler can't be used together with AllowedCPUs (linux.resources.cpu.cpus): sched_setattr: %w", err)
		} else if err != nil {
			return fmt.Errorf("process.scheduler: sched_setattr: %w", err)
		}
	}
	if p.ioprio >= 0 {
		const whoProcess = 1
		if _, _, e := unix.RawSyscall(unix.SYS_IOPRIO_SET, whoProcess, 0, uintptr(p.ioprio)); e != 0 {
			return fmt.Errorf("process.ioPriority: ioprio_set: %w", e)
		}
	}
	if p.personality >= 0 {
		if _, _, e := unix.RawSyscall(unix.SYS_PERSONALITY, uintptr(p.personality), 0, 0); e != 0 {
			return fmt.Errorf("linux.personality: personality: %w", e)
		}
	}
	if err := p.memory.apply(); err != nil {
		return err
	}
	return s.applyLabels()
}

// apply sets the policy of this thread, which execve keeps.
func (m *memoryPlan) apply() error {
	if !m.set {
		return nil
	}
	var nodes unsafe.Pointer
	var n int // one more than there are bits, says get_nodes in mm/mempolicy.c
	if len(m.nodes) > 0 {
		nodes, n = unsafe.Pointer(&m.nodes[0]), len(m.nodes)*64+1
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SET_MEMPOLICY, uintptr(m.mode), uintptr(nodes), uintptr(n)); e != 0 {
		return fmt.Errorf("linux.memoryPolicy: set_mempolicy: %w", e)
	}
	return nil
}

// maxCPUs is as many as a kernel can be built for (CONFIG_NR_CPUS).
const maxCPUs = 8192

func setAffinity(mask []byte) error {
	_, _, e := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, 0, uintptr(len(mask)), uintptr(unsafe.Pointer(&mask[0])))
	if e != 0 {
		return os.NewSyscallError("sched_setaffinity", e)
	}
	return nil
}

// applyLabels names what execve shall confine the process with. The file is reached through a procfs that nobody could
// have put something else in place of (CVE-2019-16884, CVE-2025-52881).
func (s *initState) applyLabels() error {
	p := &s.process
	if p.profile == "" && p.label == "" {
		return nil
	}
	fd, err := mount.FS("proc", "proc", []string{"subset=pid"}, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	dir := fmt.Sprintf("%d/task/%d/attr/", os.Getpid(), unix.Gettid())
	if p.profile != "" {
		v := "exec " + p.profile
		if err := mount.Write(fd, unix.PROC_SUPER_MAGIC, dir+"apparmor/exec", v); err != nil {
			if err := mount.Write(fd, unix.PROC_SUPER_MAGIC, dir+"exec", v); err != nil {
				return fmt.Errorf("process.apparmorProfile: %w", err)
			}
		}
	}
	if p.label != "" {
		if err := mount.Write(fd, unix.PROC_SUPER_MAGIC, dir+"exec", p.label); err != nil {
			return fmt.Errorf("process.selinuxLabel: %w", err)
		}
	}
	return nil
}
