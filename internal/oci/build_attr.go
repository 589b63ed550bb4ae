package oci

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/mount"
)

// planAttributes translates the rarer properties of a process.
func planAttributes(p *processPlan, sp *specs.Process, s *specs.Spec) error {
	p.personality, p.ioprio = -1, -1
	if s.Linux != nil && s.Linux.Personality != nil {
		v, err := personality(s.Linux.Personality)
		if err != nil {
			return err
		}
		p.personality = v
	}
	if sp.IOPriority != nil {
		v, err := ioPriority(sp.IOPriority)
		if err != nil {
			return err
		}
		p.ioprio = v
	}
	if sp.Scheduler != nil {
		if err := planScheduler(&p.scheduler, sp.Scheduler); err != nil {
			return err
		}
		r := resources(s)
		p.scheduler.confined = r.CPU != nil && r.CPU.Cpus != ""
	}
	if s.Linux != nil {
		if err := planMemory(&p.memory, s.Linux.MemoryPolicy); err != nil {
			return err
		}
	}
	return planLabels(p, sp)
}

// resources are those of a configuration, or none.
func resources(s *specs.Spec) specs.LinuxResources {
	if s.Linux == nil || s.Linux.Resources == nil {
		return specs.LinuxResources{}
	}
	return *s.Linux.Resources
}

func personality(l *specs.LinuxPersonality) (int64, error) {
	if len(l.Flags) > 0 {
		return 0, fmt.Errorf("linux.personality.flags: none are supported")
	}
	switch l.Domain {
	case specs.PerLinux:
		return 0, nil
	case specs.PerLinux32:
		return 8, nil // PER_LINUX32, include/uapi/linux/personality.h
	}
	return 0, fmt.Errorf("linux.personality.domain: %q is not LINUX or LINUX32", l.Domain)
}

// ioPriority is class and level as ioprio_set(2) packs them.
func ioPriority(p *specs.LinuxIOPriority) (int, error) {
	classes := []specs.IOPriorityClass{"", specs.IOPRIO_CLASS_RT, specs.IOPRIO_CLASS_BE, specs.IOPRIO_CLASS_IDLE}
	c := slices.Index(classes, p.Class)
	if c < 1 {
		return 0, fmt.Errorf("process.ioPriority.class: %q is not known", p.Class)
	}
	if p.Priority < 0 || p.Priority > 7 {
		return 0, fmt.Errorf("process.ioPriority.priority: %d is not between 0 and 7", p.Priority)
	}
	return c<<13 | p.Priority, nil
}

// Words of runtime-spec, in the order of the kernel's numbers (include/uapi/linux/sched.h); 4 is not used.
var policies = [...]specs.LinuxSchedulerPolicy{
	specs.SchedOther, specs.SchedFIFO, specs.SchedRR, specs.SchedBatch, "", specs.SchedIdle, specs.SchedDeadline,
}

var schedFlags = [...]specs.LinuxSchedulerFlag{
	specs.SchedFlagResetOnFork, specs.SchedFlagReclaim, specs.SchedFlagDLOverrun, specs.SchedFlagKeepPolicy,
	specs.SchedFlagKeepParams, specs.SchedFlagUtilClampMin, specs.SchedFlagUtilClampMax,
}

func planScheduler(out *schedPlan, s *specs.Scheduler) error {
	n := slices.Index(policies[:], s.Policy)
	if n < 0 || s.Policy == "" {
		return fmt.Errorf("process.scheduler.policy: %q is not known", s.Policy)
	}
	*out = schedPlan{set: true, policy: n, nice: int(s.Nice), prio: int(s.Priority),
		runtime: s.Runtime, deadline: s.Deadline, period: s.Period}
	if s.Nice < -20 || s.Nice > 19 {
		return fmt.Errorf("process.scheduler.nice: %d is not between -20 and 19", s.Nice)
	}
	realtime := s.Policy == specs.SchedFIFO || s.Policy == specs.SchedRR
	if s.Priority != 0 && !realtime {
		return fmt.Errorf("process.scheduler.priority: can only be specified for SCHED_FIFO or SCHED_RR policy")
	}
	if s.Policy != specs.SchedDeadline && (s.Runtime|s.Deadline|s.Period) != 0 {
		return fmt.Errorf("process.scheduler: runtime, deadline and period are for SCHED_DEADLINE only")
	}
	for i, f := range s.Flags {
		b := slices.Index(schedFlags[:], f)
		if b < 0 {
			return fmt.Errorf("process.scheduler.flags[%d]: %q is not known", i, f)
		}
		out.flags |= 1 << b
	}
	return nil
}

// planLabels asks for mandatory access control only where the kernel has it: a container that believes to be confined
// and is not would be worse than none.
func planLabels(p *processPlan, sp *specs.Process) error {
	if sp.ApparmorProfile != "" {
		if on, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled"); !strings.HasPrefix(string(on), "Y") {
			return fmt.Errorf("process.apparmorProfile: %q asked for, but this kernel has no AppArmor", sp.ApparmorProfile)
		}
		p.profile = sp.ApparmorProfile
	}
	if sp.SelinuxLabel != "" {
		if !hasSELinux() {
			return fmt.Errorf("process.selinuxLabel: %q asked for, but this kernel has no SELinux", sp.SelinuxLabel)
		}
		p.label = sp.SelinuxLabel
	}
	return nil
}

func hasSELinux() bool {
	_, err := os.Lstat("/sys/fs/selinux/enforce")
	return err == nil
}

// labelMount gives what is mounted the label that the configuration wants for all mounts (linux.mountLabel). proc, sysfs
// and mqueue have labels of their own in every policy, and a bind mount has those of its files.
func labelMount(i int, mp *mountPlan, s *specs.Spec) error {
	if own := slices.IndexFunc(mp.params, mount.IsLabel); own >= 0 && mp.kind != mountBind {
		if !hasSELinux() {
			return fmt.Errorf("mounts[%d].options: %q asked for, but this kernel has no SELinux", i, mp.params[own])
		}
		return nil
	}
	if s.Linux == nil || s.Linux.MountLabel == "" {
		return nil
	}
	if !hasSELinux() {
		return fmt.Errorf("linux.mountLabel: %q asked for, but this kernel has no SELinux", s.Linux.MountLabel)
	}
	switch mp.fstype {
	case "proc", "sysfs", "mqueue":
		return nil
	}
	if mp.kind == mountFS {
		mp.params = append(mp.params, "context="+s.Linux.MountLabel)
	}
	return nil
}

// CPUSet parses "0-3,7" into the mask of sched_setaffinity, the lowest CPUs first.
func CPUSet(list string) ([]byte, error) {
	var set unix.CPUSet
	top := 0
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.Atoi(lo)
		b := a
		if err == nil && isRange {
			b, err = strconv.Atoi(hi)
		}
		if err != nil || a < 0 || b < a || b >= 1024 {
			return nil, fmt.Errorf("%q is not a list of CPUs", list)
		}
		for ; a <= b; a++ {
			set.Set(a)
		}
		top = max(top, b)
	}
	mask := make([]byte, (top/64+1)*8)
	for cpu := range len(mask) * 8 {
		if set.IsSet(cpu) {
			mask[cpu/8] |= 1 << (cpu % 8)
		}
	}
	return mask, nil
}
