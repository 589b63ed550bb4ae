package oci

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/systemd"
)

// scope is a container's unit while it is being made.
type scope struct {
	cgroup.Scope
	user        bool // of the user's own systemd
	manager     *systemd.Manager
	annotations []systemd.Property
	started     bool
}

// planScope finds out what systemd is to be asked for. It is asked when there is a process: a scope has no other beginning.
func (cr *creation) planScope() (err error) {
	s := &cr.scope
	slice, p := "system.slice", ""
	if s.user = UnderUser(); s.user {
		slice = "user.slice"
	}
	if cr.o.Spec.Linux != nil {
		p = cr.o.Spec.Linux.CgroupsPath
	}
	if s.Scope, err = cgroup.ParseScope(p, slice, cr.o.ID); err != nil {
		return err
	}
	if s.annotations, err = systemd.FromAnnotations(cr.o.Spec.Annotations); err != nil {
		return err
	}
	if s.manager, err = systemd.Dial(s.user); err != nil {
		return err
	}
	cr.c.rec.Unit, cr.c.rec.UserUnit = s.Unit, s.user
	// The container's process is gone by then, and so is what it left.
	cr.onFail(func() {
		if s.started {
			_ = s.manager.Stop(s.Unit)
			_ = cr.c.cg.Destroy()
		}
	})
	return cr.useCgroup(s.Path)
}

func (s *scope) close() {
	if s.manager != nil {
		_ = s.manager.Close()
	}
}

// startScope moves init into its unit; init does nothing before it is told to. Limits that systemd has no words for, and
// hierarchies of version 1 that it does not care for, are ours below it: Delegate=yes gives the right to that.
func (cr *creation) startScope(context.Context) error {
	s := &cr.scope
	if s.manager == nil {
		return nil
	}
	limits, err := unitLimits(cr.c.cg, cr.firstLimits())
	if err != nil {
		return fmt.Errorf("linux.resources: %w", err)
	}
	if err := s.manager.Start(s.Unit, append(cr.scopeProperties(), limits...)); err != nil {
		return err
	}
	s.started = true
	p, err := unitCgroup(cr.child.pid, cr.c.cg.Layout.V2)
	if err != nil {
		return err
	}
	if err := cr.useCgroup(p); err != nil {
		return err
	}
	if err := cr.c.cg.Create(); err != nil {
		return err
	}
	cr.c.rec.Cgroup = p
	return cr.setLimits()
}

func (cr *creation) scopeProperties() []systemd.Property {
	on := systemd.Bool(true)
	return append([]systemd.Property{
		{Name: "Description", Value: systemd.String("container " + cr.o.ID)},
		{Name: "Slice", Value: systemd.String(cr.scope.Slice)},
		{Name: "PIDs", Value: systemd.Uint32s(uint32(cr.child.pid))},
		{Name: "Delegate", Value: on},
		{Name: "DefaultDependencies", Value: systemd.Bool(false)}, // else a shutdown would end it before its engine
		{Name: "CPUAccounting", Value: on},
		{Name: "MemoryAccounting", Value: on},
		{Name: "IOAccounting", Value: on},
		{Name: "TasksAccounting", Value: on},
	}, cr.scope.annotations...)
}

// unitCgroup reads where systemd has put a process: the kernel knows it better than a rule for paths, in a container
// whose systemd has not the root of the hierarchy for example.
func unitCgroup(pid int, v2 bool) (string, error) {
	if v2 {
		return cgroup.Of(strconv.Itoa(pid), "")
	}
	return cgroup.Of(strconv.Itoa(pid), "name=systemd")
}

// Annotations are those that change what is made of a configuration; a dot at the end makes a prefix (features.md).
func Annotations() []string { return []string{systemd.PropertyPrefix} }

// UnderUser tells whether the caller has no say in the machine's systemd, but may have one of its own: an ordinary user,
// or the root of a user namespace.
func UnderUser() bool { return underUser() }

// underUser is found out once: a process of several threads stays in its user namespace.
var underUser = sync.OnceValue(func() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return os.Geteuid() != 0 || err == nil && strings.Join(strings.Fields(string(b)), " ") != "0 0 4294967295"
})

// stopUnit forgets the container's unit; it ends by itself with its last process, unless that failed.
func (c *Container) stopUnit() error {
	if c.rec.Unit == "" {
		return nil
	}
	m, err := systemd.Dial(c.rec.UserUnit)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.Stop(c.rec.Unit)
}

// updateUnit tells systemd of new limits, or it would set the old ones again at its next occasion.
func (c *Container) updateUnit(r *specs.LinuxResources) error {
	if c.rec.Unit == "" {
		return nil
	}
	limits, err := unitLimits(c.cg, r)
	if err != nil || len(limits) == 0 {
		return err
	}
	m, err := systemd.Dial(c.rec.UserUnit)
	if err != nil {
		return err
	}
	defer m.Close()
	return m.SetProperties(c.rec.Unit, limits)
}
