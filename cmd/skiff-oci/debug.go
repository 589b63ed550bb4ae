package main

import (
	"encoding/hex"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/seccomp"
	"go.skiff.dev/skiff/internal/oci"
)

// The debug log tells the stages in runc's words, which those who read its log look for (nsexec and setns_init are
// runc's names for what init does in namespaces that are new, or there already).

func (a *app) debugCreated(c *oci.Container, spec *specs.Spec) {
	a.debugf("runc exeseal: using /proc/self/exe clone: init is a sealed copy in memory")
	a.debugf("nsexec container setup of %s: cgroup %s", c.ID, c.CgroupPath())
	a.debugf("child process in init() is %d", c.Init.PID)
	a.debugSeccomp(spec)
	a.debugf("init: closing the pipe to signal completion: container %s is created", c.ID)
}

func (a *app) debugExec(c *oci.Container, p *oci.Process, spec *specs.Process) {
	a.debugf("nsexec container setup of a process in %s", c.ID)
	if cpus := spec.ExecCPUAffinity; cpus != nil && cpus.Initial != "" {
		if mask, err := oci.CPUSet(cpus.Initial); err == nil {
			a.debugf("nsexec: affinity: %s", hexMask(mask))
		}
	}
	a.debugf("child process in init() is %d", p.PID)
	a.debugf("setns_init: about to exec %q", spec.Args)
}

// debugSeccomp tells the flags of the filter as the kernel gets them, but for TSYNC, which means nothing to one thread.
func (a *app) debugSeccomp(spec *specs.Spec) {
	if !a.debug || spec.Linux == nil || spec.Linux.Seccomp == nil {
		return
	}
	p, err := seccomp.Compile(spec.Linux.Seccomp)
	if err != nil {
		return // what was made has said so
	}
	flags := p.Flags &^ unix.SECCOMP_FILTER_FLAG_TSYNC
	if p.Notify {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	a.debugf("seccomp filter flags: %d", flags)
}

// hexMask writes a mask as one number.
func hexMask(mask []byte) string {
	mask = slices.Clone(mask)
	slices.Reverse(mask)
	return "0x" + strings.TrimLeft(hex.EncodeToString(mask), "0")
}
