package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// useCgroup names the container's cgroup.
func (cr *creation) useCgroup(p string) error {
	m, err := cgroup.New(p)
	if err != nil {
		return err
	}
	cr.c.cg, cr.plan.cgroups = m, nil
	cr.plan.cgroupV2 = m.Layout.V2
	for i, h := range m.Layout.Hierarchies {
		if !h.Hybrid() { // programs in a container expect the controllers there, as they do with every runtime
			cr.plan.cgroups = append(cr.plan.cgroups, pair{h.Mount, m.Dirs()[i]})
		}
	}
	if m.Stops() { // init would never answer
		return fmt.Errorf("linux.cgroupsPath: %q: container's cgroup unexpectedly frozen", p)
	}
	return nil
}

func (cr *creation) makeCgroup(context.Context) error {
	if cr.o.Systemd {
		return cr.planScope()
	}
	p := "/" + cr.o.ID
	if l := cr.o.Spec.Linux; l != nil && l.CgroupsPath != "" {
		p = l.CgroupsPath
	}
	if err := cr.useCgroup(p); err != nil {
		return err
	}
	// For who finds nothing but this, should we be killed before there is a record.
	if err := os.Symlink(p, filepath.Join(cr.c.Dir, cgroupLink)); err != nil {
		return err
	}
	if !cr.early() {
		return cr.makePart(cr.c.cg)
	}
	v2, v1 := cr.c.cg.Split()
	if len(v1.Dirs()) > 0 {
		cr.rest = v1
	}
	return cr.makePart(v2)
}

// early tells whether init is cloned before the cgroups of version 1 are made: its runtime starts meanwhile, and then it
// enters them itself.
func (cr *creation) early() bool {
	return cr.o.Run && !cr.o.Systemd && !UnderUser() && !cr.mapped() && !cr.sp.staged()
}

// makeRest makes the cgroups that init was not cloned into.
func (cr *creation) makeRest(context.Context) error {
	if cr.rest == nil {
		return nil
	}
	m := cr.rest
	cr.rest = nil
	if err := cr.makePart(m); err != nil {
		return err
	}
	all := cr.child.placed || len(m.Dirs()) == len(cr.c.cg.Dirs())
	cr.child.placed = all && len(cr.sp.tasks) > 0
	return nil
}

// makePart makes the cgroup in some hierarchies, for init to be born there or to enter them.
func (cr *creation) makePart(m *cgroup.Manager) error {
	existed, undo, err := m.Make()
	if err != nil {
		return cr.withoutCgroup(err)
	}
	if existed {
		// Delete ends and removes what is in the cgroup, so nobody else's processes may be there.
		if pids, err := m.Procs(); err != nil || len(pids) > 0 {
			undo()
			return errors.Join(err, fmt.Errorf("linux.cgroupsPath: %q: container's cgroup is not empty: %d process(es) found", m.Path, len(pids)))
		}
	} else {
		cr.onFail(func() { _ = m.Destroy() })
	}
	cr.existed = cr.existed || existed
	if !cr.existed && roomy(cr.o.Spec) {
		return cr.sp.bornIn(m, &cr.files)
	}
	if cr.rest != nil { // the limits are in the others
		return nil
	}
	return cr.setLimits()
}

// withoutCgroup lets a user who has no right to any cgroup go on without one, where the configuration does not ask for it.
func (cr *creation) withoutCgroup(err error) error {
	asked := cr.o.Spec.Linux != nil && cr.o.Spec.Linux.CgroupsPath != ""
	if asked || !UnderUser() || !errors.Is(err, os.ErrPermission) && !errors.Is(err, unix.EROFS) {
		return err
	}
	cr.c.cg, cr.plan.cgroups = cgroup.None(), nil
	return cr.setLimits() // which are refused
}

// roomy tells whether init can start inside the container's limits; else it enters the cgroup when it runs.
func roomy(s *specs.Spec) bool {
	if s.Linux == nil || s.Linux.Resources == nil {
		return true
	}
	if m := s.Linux.Resources.Memory; m != nil && m.Limit != nil && *m.Limit >= 0 && *m.Limit < cgroup.RoomMemory {
		return false
	}
	c := s.Linux.Resources.CPU
	return c == nil || c.Quota == nil || *c.Quota <= 0 || *c.Quota >= cgroup.RoomQuota
}

// fewPids tells whether there are to be fewer tasks than init needs while it is a Go program.
func fewPids(r *specs.LinuxResources) bool {
	return r.Pids != nil && r.Pids.Limit != nil && *r.Pids.Limit >= 0 && *r.Pids.Limit < cgroup.RoomPids
}

// firstLimits are those that init can live with; nil: none. limitPids comes later.
func (cr *creation) firstLimits() *specs.LinuxResources {
	l := cr.o.Spec.Linux
	if l == nil || l.Resources == nil {
		return nil
	}
	r := *l.Resources
	if fewPids(&r) {
		r.Pids = nil
	}
	if UnderUser() { // the kernel gives device rules to nobody there, nor more devices than the host's
		r.Devices = nil
	}
	return &r
}

func (cr *creation) setLimits() error {
	cr.limited = true
	r := cr.firstLimits()
	if r == nil {
		return nil
	}
	if err := cr.c.cg.Set(r); err != nil {
		return fmt.Errorf("linux.resources: %w", err)
	}
	return nil
}

// limitPids comes when init is ready, and starts no thread any more.
func (cr *creation) limitPids() error {
	if l := cr.o.Spec.Linux; l != nil && l.Resources != nil && fewPids(l.Resources) {
		r := &specs.LinuxResources{Pids: l.Resources.Pids}
		err := cr.c.updateUnit(r)
		if err == nil {
			err = cr.c.cg.Set(r) // who fails is removed, so nothing is read to be put back
		}
		if err != nil {
			return fmt.Errorf("linux.resources: %w", err)
		}
	}
	return nil
}
