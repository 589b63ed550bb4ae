package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// controller is one entry of the list of those that Set knows.
type controller struct {
	name string
	v1   func(*Manager, string, *specs.LinuxResources) error // gets the directory
	v2   func(*Manager, string, *specs.LinuxResources) error
}

// controllers lists them in the order in which limits are written.
func controllers() []controller {
	return []controller{
		{"cpuset", setCpuset, setCpuset},
		{"cpu", setCPUv1, setCPUv2},
		{"memory", setMemoryV1, setMemoryV2},
		{"pids", setPids, setPids},
		{"blkio", setBlkioV1, setIOv2},
		{"hugetlb", setHugetlb, setHugetlb},
		{"rdma", setRdma, setRdma},
		{"net_cls", setNetClass, nil},
		{"net_prio", setNetPrio, nil},
		{"devices", setDevicesV1, setDevicesV2},
	}
}

// Set applies limits; a field that is nil stays as it is. The error names the file and the value.
func (m *Manager) Set(r *specs.LinuxResources) error {
	for _, c := range controllers() {
		f := c.v1
		if m.Layout.V2 {
			f = c.v2
		}
		if f == nil {
			continue
		}
		if err := f(m, m.Dir(c.name), r); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return m.setUnified(r.Unified)
}

// setUnified writes version 2 files by their names, as the configuration asks.
func (m *Manager) setUnified(kv map[string]string) error {
	if len(kv) > 0 && !m.Layout.V2 {
		return errors.New("unified: invalid configuration: cannot be used without cgroup v2")
	}
	for k, v := range kv {
		if k == "" || strings.Contains(k, "/") {
			return fmt.Errorf("unified: %q must be a file name (no slashes)", k)
		}
		for line := range strings.SplitSeq(v, "\n") {
			if err := write(m.dirs[0], k, line); err != nil {
				if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
					c, _, _ := strings.Cut(k, ".")
					return fmt.Errorf("unified resource %q can't be set: controller %q not available", k, c)
				}
				return fmt.Errorf("unified: %w", err)
			}
		}
	}
	return nil
}

// put writes a value if it is given. A controller that is not mounted is an error only when something is asked of it.
func put(dir, file, v string) error {
	if v == "" {
		return nil
	}
	if dir == "" {
		return fmt.Errorf("setting %s to %q: the controller is not mounted", file, v)
	}
	return write(dir, file, v)
}

func text[T int64 | uint64 | uint16 | uint32](v *T) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(*v)
}

// nonzero is text without 0, which in the cpu fields of v1 means "leave it".
func nonzero[T int64 | uint64 | uint16 | uint32](v *T) string {
	if v == nil || *v == 0 {
		return ""
	}
	return fmt.Sprint(*v)
}

func setCpuset(_ *Manager, dir string, r *specs.LinuxResources) error {
	if r.CPU == nil {
		return nil
	}
	if err := put(dir, "cpuset.cpus", r.CPU.Cpus); err != nil {
		return err
	}
	return put(dir, "cpuset.mems", r.CPU.Mems)
}

func setPids(_ *Manager, dir string, r *specs.LinuxResources) error {
	if r.Pids == nil || r.Pids.Limit == nil {
		return nil
	}
	v := "max"
	if *r.Pids.Limit > 0 {
		v = strconv.FormatInt(*r.Pids.Limit, 10)
	} else if *r.Pids.Limit == 0 {
		v = "1" // no process at all could not be started; runc 1.3 reads 0 the same way
	}
	return put(dir, "pids.max", v)
}

// setHugetlb limits the pages and, where the kernel counts them (Linux 5.7), their reservations: those are charged when
// memory is mapped, so that a program hears of the limit by mmap and not by a signal.
func setHugetlb(m *Manager, dir string, r *specs.LinuxResources) error {
	suffix := ".limit_in_bytes"
	if m.Layout.V2 {
		suffix = ".max"
	}
	for _, h := range r.HugepageLimits {
		v, prefix := strconv.FormatUint(h.Limit, 10), "hugetlb."+h.Pagesize
		if err := put(dir, prefix+suffix, v); err != nil {
			return err
		}
		if err := put(dir, prefix+".rsvd"+suffix, v); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func setRdma(_ *Manager, dir string, r *specs.LinuxResources) error {
	for dev, l := range r.Rdma {
		v := dev
		if l.HcaHandles != nil {
			v += " hca_handle=" + text(l.HcaHandles)
		}
		if l.HcaObjects != nil {
			v += " hca_object=" + text(l.HcaObjects)
		}
		if err := put(dir, "rdma.max", v); err != nil {
			return err
		}
	}
	return nil
}

func setNetClass(_ *Manager, dir string, r *specs.LinuxResources) error {
	if r.Network == nil {
		return nil
	}
	return put(dir, "net_cls.classid", text(r.Network.ClassID))
}

func setNetPrio(_ *Manager, dir string, r *specs.LinuxResources) error {
	if r.Network == nil {
		return nil
	}
	for _, p := range r.Network.Priorities {
		if err := put(dir, "net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Name, p.Priority)); err != nil {
			return err
		}
	}
	return nil
}
