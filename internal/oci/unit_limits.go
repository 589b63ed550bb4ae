package oci

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/systemd"
)

// unlimited is systemd's word for it in every limit.
const unlimited = math.MaxUint64

// limits collects properties.
type limits struct {
	list []systemd.Property
	cg   *cgroup.Manager
	v2   bool
}

func (l *limits) add(name string, v systemd.Value) {
	l.list = append(l.list, systemd.Property{Name: name, Value: v})
}

// unitLimits puts limits in systemd's words (systemd.resource-control(5)), as far as it has any. It writes them itself,
// and again when it reads its configuration anew; all of them, exactly, come from cgroup.Set.
func unitLimits(cg *cgroup.Manager, r *specs.LinuxResources) ([]systemd.Property, error) {
	if r == nil {
		return nil, nil
	}
	l := &limits{cg: cg, v2: cg.Layout.V2}
	l.memory(r.Memory)
	if err := l.cpu(r.CPU); err != nil {
		return nil, err
	}
	l.pids(r.Pids)
	l.io(r.BlockIO)
	if err := l.unified(r.Unified); err != nil {
		return nil, err
	}
	return l.list, l.devices(r)
}

// bytes is a limit of which -1 means none, and 0 nothing at all.
func (l *limits) bytes(name string, v *int64) {
	if v != nil && *v != 0 {
		l.add(name, systemd.Uint64(number(*v)))
	}
}

func number(v int64) uint64 {
	if v < 0 {
		return unlimited
	}
	return uint64(v)
}

func (l *limits) memory(m *specs.LinuxMemory) {
	switch {
	case m == nil:
	case !l.v2:
		l.bytes("MemoryLimit", m.Limit)
	default:
		l.bytes("MemoryMax", m.Limit)
		l.bytes("MemoryLow", m.Reservation)
		switch {
		case m.Swap == nil || *m.Swap == 0:
		case *m.Swap < 0:
			l.add("MemorySwapMax", systemd.Uint64(unlimited))
		case m.Limit != nil && *m.Limit > 0 && *m.Swap >= *m.Limit: // the configuration counts both together
			l.add("MemorySwapMax", systemd.Uint64(uint64(*m.Swap-*m.Limit)))
		}
	}
}

func (l *limits) cpu(c *specs.LinuxCPU) error {
	if c == nil {
		return nil
	}
	if c.Shares != nil && *c.Shares != 0 && (c.Idle == nil || *c.Idle != 1) {
		if l.v2 {
			l.add("CPUWeight", systemd.Uint64(cgroup.Weight(*c.Shares)))
		} else {
			l.add("CPUShares", systemd.Uint64(*c.Shares))
		}
	}
	l.bandwidth(c)
	if !l.v2 {
		return nil // no words for the CPUs of version 1
	}
	return l.cpus(c.Cpus, c.Mems)
}

func (l *limits) cpus(cpus, mems string) error {
	for _, s := range [...]struct{ field, name, list string }{{"cpus", "AllowedCPUs", cpus}, {"mems", "AllowedMemoryNodes", mems}} {
		if s.list == "" {
			continue
		}
		mask, err := CPUSet(s.list)
		if err != nil {
			return fmt.Errorf("cpu.%s: %w", s.field, err)
		}
		l.add(s.name, systemd.Bytes(mask))
	}
	return nil
}

// bandwidth asks for a share of the CPUs' time in hundredths of one CPU, rounded up: systemd counts so, and a limit below
// the exact one would be in the way of that.
func (l *limits) bandwidth(c *specs.LinuxCPU) {
	quota, period := int64(0), uint64(0)
	if c.Quota != nil {
		quota = *c.Quota
	}
	if c.Period != nil {
		period = *c.Period
	}
	if quota == 0 && period == 0 {
		return
	}
	if now, err := l.cg.Stats(); err == nil { // else the cgroup is still to be made
		if quota == 0 {
			quota = int64(now.CPUQuota)
		}
		if period == 0 {
			period = now.CPUPeriod
		}
	}
	if period == 0 {
		period = 100_000
	}
	if c.Period != nil && *c.Period != 0 {
		l.add("CPUQuotaPeriodUSec", systemd.Uint64(period))
	}
	l.add("CPUQuotaPerSecUSec", systemd.Uint64(perSecond(quota, period)))
}

func perSecond(quota int64, period uint64) uint64 {
	const second, hundredth = 1_000_000, 10_000
	if quota <= 0 || uint64(quota) > math.MaxUint64/second {
		return unlimited
	}
	return (uint64(quota)*second/period + hundredth - 1) / hundredth * hundredth
}

func (l *limits) pids(p *specs.LinuxPids) {
	if p != nil && p.Limit != nil {
		n := number(*p.Limit)
		l.add("TasksMax", systemd.Uint64(max(n, 1))) // as cgroup.Set reads 0
	}
}

func (l *limits) io(b *specs.LinuxBlockIO) {
	if b == nil || b.Weight == nil || *b.Weight < cgroup.MinWeight || *b.Weight > cgroup.MaxWeight { // Set refuses others
		return
	}
	if l.v2 {
		l.add("IOWeight", systemd.Uint64(cgroup.IOWeight(*b.Weight)))
	} else {
		l.add("BlockIOWeight", systemd.Uint64(uint64(*b.Weight)))
	}
}

// devices replaces the list: the empty one clears it.
func (l *limits) devices(r *specs.LinuxResources) error {
	if len(r.Devices) == 0 {
		return nil
	}
	strict, allow, err := cgroup.Allowed(r)
	if err != nil {
		return err
	}
	policy := "auto"
	if strict {
		policy = "strict"
	}
	l.add("DevicePolicy", systemd.String(policy))
	l.add("DeviceAllow", systemd.Pairs())
	if len(allow) > 0 {
		l.add("DeviceAllow", systemd.Pairs(allow...))
	}
	return nil
}

// unified are files of version 2 by name. Those that systemd writes too it has to know of.
func (l *limits) unified(files map[string]string) error {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, file := range names {
		if err := l.unifiedFile(file, strings.TrimSpace(files[file])); err != nil {
			return fmt.Errorf("unified: %q: %w", file, err)
		}
	}
	return nil
}

func (l *limits) unifiedFile(file, v string) error {
	switch file {
	case "cpuset.cpus":
		return l.cpus(v, "")
	case "cpuset.mems":
		return l.cpus("", v)
	case "cpu.max":
		quota, period, _ := strings.Cut(v, " ")
		var c specs.LinuxCPU
		q, err := amount(quota)
		if err != nil {
			return err
		}
		n := int64(min(q, math.MaxInt64))
		if q == unlimited {
			n = -1
		}
		c.Quota = &n
		if period != "" {
			p, err := strconv.ParseUint(period, 10, 64)
			if err != nil {
				return fmt.Errorf("%q is not a period", period)
			}
			c.Period = &p
		}
		l.bandwidth(&c)
		return nil
	}
	name, ok := map[string]string{"cpu.weight": "CPUWeight", "memory.min": "MemoryMin", "memory.low": "MemoryLow",
		"memory.high": "MemoryHigh", "memory.max": "MemoryMax", "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax"}[file]
	if !ok {
		return nil
	}
	n, err := amount(v)
	if err == nil {
		l.add(name, systemd.Uint64(n))
	}
	return err
}

func amount(v string) (uint64, error) {
	if v == "max" {
		return unlimited, nil
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number nor \"max\"", v)
	}
	return n, nil
}
