package anatomy

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// Cgroup is a control group with its limits and its usage. Limits of -1 are none.
type Cgroup struct {
	Path string `json:"path"`
	// Version is 1 or 2.
	Version int   `json:"version"`
	CPU     CPU   `json:"cpu"`
	Memory  Bytes `json:"memory"`
	Pids    Count `json:"pids"`
}

// CPU is in thousandths of a core and microseconds.
type CPU struct {
	LimitMilli int64 `json:"limitMilli"`
	// Weight is cpu.weight on version 2, cpu.shares on version 1.
	Weight    int64 `json:"weight"`
	UsedUsec  int64 `json:"usedUsec"`
	Throttled int64 `json:"throttledPeriods"`
}

// Bytes is a limit and a usage in bytes.
type Bytes struct {
	Limit int64 `json:"limitBytes"`
	Used  int64 `json:"usedBytes"`
}

// Count is a limit and a number.
type Count struct {
	Limit int64 `json:"limit"`
	Used  int64 `json:"used"`
}

// unlimited is where version 1 begins to mean "no limit": it writes the largest
// multiple of the page size that fits in 63 bits.
const unlimited = int64(1) << 62

// readCgroup reads a cgroup; figures that the kernel does not give stay 0 (usage) or -1 (limits).
func readCgroup(path string) Cgroup {
	c := Cgroup{Path: path, CPU: CPU{LimitMilli: -1}, Memory: Bytes{Limit: -1}, Pids: Count{Limit: -1}}
	manager, err := cgroup.New(path)
	if err != nil || path == "" {
		return c
	}
	memory, cpu, pids := manager.Dir("memory"), manager.Dir("cpu"), manager.Dir("pids")
	c.Pids = Count{Limit: limit(pids, "pids.max"), Used: value(pids, "pids.current")}
	if _, err := os.Stat(filepath.Join(memory, "memory.current")); err == nil {
		c.Version = 2
		c.readV2(memory, cpu)
		return c
	}
	c.Version = 1
	c.readV1(memory, cpu, manager.Dir("cpuacct"))
	return c
}

func (c *Cgroup) readV2(memory, cpu string) {
	c.Memory = Bytes{Limit: limit(memory, "memory.max"), Used: value(memory, "memory.current")}
	quota, period, _ := strings.Cut(line(cpu, "cpu.max"), " ")
	c.CPU = CPU{LimitMilli: milli(quota, period), Weight: value(cpu, "cpu.weight"), UsedUsec: keyed(cpu, "cpu.stat", "usage_usec"), Throttled: keyed(cpu, "cpu.stat", "nr_throttled")}
}

func (c *Cgroup) readV1(memory, cpu, cpuacct string) {
	c.Memory = Bytes{Limit: limit(memory, "memory.limit_in_bytes"), Used: value(memory, "memory.usage_in_bytes")}
	c.CPU = CPU{
		LimitMilli: milli(line(cpu, "cpu.cfs_quota_us"), line(cpu, "cpu.cfs_period_us")),
		Weight:     value(cpu, "cpu.shares"),
		UsedUsec:   value(cpuacct, "cpuacct.usage") / 1000,
		Throttled:  keyed(cpu, "cpu.stat", "nr_throttled"),
	}
}

// milli turns a quota per period into thousandths of a core.
func milli(quota, period string) int64 {
	q, errQ := strconv.ParseInt(quota, 10, 64)
	p, errP := strconv.ParseInt(period, 10, 64)
	if errQ != nil || errP != nil || q < 0 || p <= 0 {
		return -1
	}
	return q * 1000 / p
}

func line(dir, file string) string {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func value(dir, file string) int64 {
	n, err := strconv.ParseInt(line(dir, file), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// limit reads a limit, -1 for "max" and for version 1's "so large that it is none".
func limit(dir, file string) int64 {
	n, err := strconv.ParseInt(line(dir, file), 10, 64)
	if err != nil || n >= unlimited {
		return -1
	}
	return n
}

// keyed reads one value of a file of "key value" lines.
func keyed(dir, file, key string) int64 {
	for l := range strings.SplitSeq(line(dir, file), "\n") {
		if k, v, ok := strings.Cut(l, " "); ok && k == key {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
