package main

import (
	"encoding/hex"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/internal/oci"
)

// The debug log tells the stages in runc's words, which those who read its log look for (nsexec and setns_init are
// runc's names for what init does in namespaces that are new, or there already).

func (a *app) debugCreated(c *oci.Container) {
	a.debugf("nsexec container setup of %s: cgroup %s", c.ID, c.CgroupPath())
	a.debugf("child process in init() is %d", c.Init.PID)
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

// hexMask writes a mask as one number.
func hexMask(mask []byte) string {
	mask = slices.Clone(mask)
	slices.Reverse(mask)
	return "0x" + strings.TrimLeft(hex.EncodeToString(mask), "0")
}
