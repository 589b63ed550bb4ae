package oci

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

func TestUnitLimits(t *testing.T) {
	everything := specs.LinuxResources{
		Memory:  &specs.LinuxMemory{Limit: new(int64(100)), Reservation: new(int64(50)), Swap: new(int64(150))},
		CPU:     &specs.LinuxCPU{Shares: new(uint64(512)), Quota: new(int64(25_500)), Period: new(uint64(100_000)), Cpus: "0", Mems: "0"},
		Pids:    &specs.LinuxPids{Limit: new(int64(5))},
		BlockIO: &specs.LinuxBlockIO{Weight: new(uint16(500))},
		Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}},
	}
	idle := specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: new(int64(1)), Shares: new(uint64(2))}}
	unified := func(file, v string) specs.LinuxResources {
		return specs.LinuxResources{Unified: map[string]string{file: v}}
	}
	for _, c := range []struct {
		v2        bool
		r         specs.LinuxResources
		want, err string
	}{
		{true, everything, "MemoryMax MemoryLow MemorySwapMax CPUWeight CPUQuotaPeriodUSec CPUQuotaPerSecUSec AllowedCPUs AllowedMemoryNodes " +
			"TasksMax IOWeight DevicePolicy DeviceAllow DeviceAllow", ""},
		{false, everything, "MemoryLimit CPUShares CPUQuotaPeriodUSec CPUQuotaPerSecUSec TasksMax BlockIOWeight DevicePolicy DeviceAllow DeviceAllow", ""},
		{true, specs.LinuxResources{}, "", ""},
		{true, idle, "", ""},
		{true, unified("cpu.max", "max 5000"), "CPUQuotaPeriodUSec CPUQuotaPerSecUSec", ""},
		{true, unified("cpu.max", "1000"), "CPUQuotaPerSecUSec", ""},
		{true, unified("memory.high", "max"), "MemoryHigh", ""},
		{true, unified("cpuset.cpus", "0-1"), "AllowedCPUs", ""},
		{true, unified("hugetlb.2MB.max", "0"), "", ""},
		{true, unified("pids.max", "many"), "", `unified: "pids.max": "many" is neither a number`},
		{true, unified("cpu.max", "1 x"), "", `"x" is not a period`},
		{true, specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "x"}}, "", "cpu.cpus"},
		{true, specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "x"}}}, "", "devices[0].type"},
	} {
		var m cgroup.Manager
		m.Layout.V2 = c.v2
		list, err := unitLimits(&m, &c.r)
		var names []string
		for _, p := range list {
			names = append(names, p.Name)
		}
		if err == nil && strings.Join(names, " ") != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %q, %v; want %q, %q", c.r, names, err, c.want, c.err)
		}
	}
}

// TestPerSecond rounds up to hundredths, so that what systemd writes is never below the exact limit.
func TestPerSecond(t *testing.T) {
	for _, c := range []struct {
		quota  int64
		period uint64
		want   uint64
	}{
		{-1, 100_000, unlimited}, {0, 100_000, unlimited}, {100_000, 100_000, 1_000_000}, {25_500, 100_000, 260_000},
		{1000, 1_000_000, 10_000}, {1 << 62, 1, unlimited},
	} {
		if got := perSecond(c.quota, c.period); got != c.want {
			t.Errorf("%d of %d: %d, want %d", c.quota, c.period, got, c.want)
		}
	}
}
