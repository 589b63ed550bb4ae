package oci

import (
	"errors"
	"fmt"
	"path"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/caps"
	"go.skiff.dev/skiff/internal/kernel/seccomp"
)

// planProcess translates a process; s is the container's whole configuration.
func planProcess(p *processPlan, sp *specs.Process, s *specs.Spec, cache *seccomp.Cache, warn func(string)) error {
	p.args, p.env, p.cwd = sp.Args, sp.Env, sp.Cwd
	if len(p.args) == 0 || p.args[0] == "" {
		return errors.New("process.args: must not be empty")
	}
	if !path.IsAbs(p.cwd) {
		return fmt.Errorf("process.cwd: %q is not an absolute path", p.cwd)
	}
	p.uid, p.gid, p.groups = sp.User.UID, sp.User.GID, sp.User.AdditionalGids
	p.umask = 0o022
	if sp.User.Umask != nil {
		p.umask = int(*sp.User.Umask)
	}
	p.terminal = sp.Terminal
	if sp.ConsoleSize != nil {
		p.rows, p.cols = uint32(sp.ConsoleSize.Height), uint32(sp.ConsoleSize.Width)
	}
	p.noNewPrivs = sp.NoNewPrivileges
	if err := planAttributes(p, sp, s); err != nil {
		return err
	}
	planCaps(p, sp.Capabilities, warn)
	if sp.OOMScoreAdj != nil {
		p.oomAdj, p.hasOOM = *sp.OOMScoreAdj, true
	}
	if err := planSeccomp(p, s, cache); err != nil {
		return err
	}
	return planRlimits(p, sp.Rlimits)
}

func planSeccomp(p *processPlan, s *specs.Spec, cache *seccomp.Cache) error {
	if s.Linux == nil || s.Linux.Seccomp == nil {
		return nil
	}
	prog, err := cache.Compile(s.Linux.Seccomp)
	if err != nil {
		return fmt.Errorf("linux.seccomp.%w", err)
	}
	if prog.Notify && s.Linux.Seccomp.ListenerPath == "" {
		return errors.New("linux.seccomp.listenerPath: must be given with SCMP_ACT_NOTIFY")
	}
	p.seccomp, p.seccompFlags, p.seccompNotify = prog.Filter, prog.Flags, prog.Notify
	return nil
}

// planCaps leaves inheritable and ambient empty unless the configuration names them (CVE-2022-29162).
func planCaps(p *processPlan, c *specs.LinuxCapabilities, warn func(string)) {
	if c == nil { // nobody asked for any: none, as with every runtime
		c = &specs.LinuxCapabilities{}
	}
	p.hasCaps = true
	set := func(list []string) uint64 {
		s, unknown := caps.Parse(list)
		for _, u := range unknown {
			warn("process.capabilities: ignoring unknown capability " + u)
		}
		return uint64(s)
	}
	p.bounding, p.effective, p.permitted = set(c.Bounding), set(c.Effective), set(c.Permitted)
	p.inheritable, p.ambient = set(c.Inheritable), set(c.Ambient)
}

// rlimits are the names of POSIX and Linux, include/uapi/asm-generic/resource.h.
var rlimits = [...]string{
	unix.RLIMIT_CPU: "CPU", unix.RLIMIT_FSIZE: "FSIZE", unix.RLIMIT_DATA: "DATA", unix.RLIMIT_STACK: "STACK",
	unix.RLIMIT_CORE: "CORE", unix.RLIMIT_RSS: "RSS", unix.RLIMIT_NPROC: "NPROC", unix.RLIMIT_NOFILE: "NOFILE",
	unix.RLIMIT_MEMLOCK: "MEMLOCK", unix.RLIMIT_AS: "AS", unix.RLIMIT_LOCKS: "LOCKS",
	unix.RLIMIT_SIGPENDING: "SIGPENDING", unix.RLIMIT_MSGQUEUE: "MSGQUEUE", unix.RLIMIT_NICE: "NICE",
	unix.RLIMIT_RTPRIO: "RTPRIO", unix.RLIMIT_RTTIME: "RTTIME",
}

func planRlimits(p *processPlan, list []specs.POSIXRlimit) error {
	seen := map[string]bool{}
next:
	for i, r := range list {
		if seen[r.Type] {
			return fmt.Errorf("process.rlimits[%d].type: %q appears twice", i, r.Type)
		}
		seen[r.Type] = true
		if r.Soft > r.Hard {
			return fmt.Errorf("process.rlimits[%d].soft: %d is more than the hard limit, %d", i, r.Soft, r.Hard)
		}
		for n, name := range rlimits {
			if r.Type == "RLIMIT_"+name {
				p.rlimits = append(p.rlimits, rlimit{resource: n, soft: r.Soft, hard: r.Hard})
				continue next
			}
		}
		return fmt.Errorf("process.rlimits[%d].type: invalid rlimit type: %q", i, r.Type)
	}
	return nil
}
