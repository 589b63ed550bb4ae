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

func setCPUv1(_ *Manager, dir string, r *specs.LinuxResources) error {
	c := r.CPU
	if c == nil {
		return nil
	}
	if c.Idle != nil && *c.Idle == 1 {
		return put(dir, "cpu.idle", "1") // the kernel refuses shares of an idle group
	}
	if err := put(dir, "cpu.idle", text(c.Idle)); err != nil {
		return err
	}
	if err := put(dir, "cpu.shares", nonzero(c.Shares)); err != nil {
		return err
	}
	if c.Shares != nil && *c.Shares != 0 {
		// The kernel clamps silently; say so instead.
		if got := number(dir, "cpu.shares"); got != *c.Shares {
			if *c.Shares > got {
				return fmt.Errorf("the maximum allowed cpu-shares is %d", got)
			}
			return fmt.Errorf("the minimum allowed cpu-shares is %d", got)
		}
	}
	return errors.Join(setQuotaV1(dir, c), put(dir, "cpu.rt_period_us", nonzero(c.RealtimePeriod)),
		put(dir, "cpu.rt_runtime_us", nonzero(c.RealtimeRuntime)))
}

// setQuotaV1 writes period, quota and burst in an order that the kernel's checks (quota of a parent, burst <= quota)
// accept: when a new period does not fit the old quota, the quota comes first.
func setQuotaV1(dir string, c *specs.LinuxCPU) error {
	const period, quota, burst = "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.cfs_burst_us"
	if c.Burst != nil && *c.Burst < number(dir, burst) {
		if err := put(dir, burst, text(c.Burst)); err != nil {
			return err
		}
	}
	again := false
	if p := nonzero(c.Period); p != "" {
		err := put(dir, period, p)
		again = err != nil && nonzero(c.Quota) != ""
		if err != nil && !again {
			return err
		}
	}
	if err := put(dir, quota, nonzero(c.Quota)); err != nil {
		return err
	}
	if again {
		if err := put(dir, period, text(c.Period)); err != nil {
			return err
		}
	}
	return put(dir, burst, text(c.Burst))
}

func setCPUv2(_ *Manager, dir string, r *specs.LinuxResources) error {
	c := r.CPU
	if c == nil {
		return nil
	}
	if err := put(dir, "cpu.idle", text(c.Idle)); err != nil {
		return err
	}
	if c.Shares != nil && *c.Shares != 0 && (c.Idle == nil || *c.Idle != 1) {
		if err := put(dir, "cpu.weight", strconv.FormatUint(Weight(*c.Shares), 10)); err != nil {
			return err
		}
	}
	if c.Burst != nil && *c.Burst < number(dir, "cpu.max.burst") {
		if err := put(dir, "cpu.max.burst", text(c.Burst)); err != nil {
			return err
		}
	}
	if err := put(dir, "cpu.max", cpuMax(c)); err != nil {
		return err
	}
	return put(dir, "cpu.max.burst", text(c.Burst))
}

// cpuMax is "QUOTA PERIOD"; without a period the kernel keeps the one it has.
func cpuMax(c *specs.LinuxCPU) string {
	q := nonzero(c.Quota)
	if c.Quota != nil && *c.Quota < 0 || q == "" && nonzero(c.Period) != "" {
		q = "max"
	}
	if q == "" {
		return ""
	}
	if p := nonzero(c.Period); p != "" {
		return q + " " + p
	}
	return q
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

func setHugetlb(m *Manager, dir string, r *specs.LinuxResources) error {
	for _, h := range r.HugepageLimits {
		file := "hugetlb." + h.Pagesize + ".limit_in_bytes"
		if m.Layout.V2 {
			file = "hugetlb." + h.Pagesize + ".max"
		}
		v := strconv.FormatUint(h.Limit, 10)
		if err := put(dir, file, v); err != nil {
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
