package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Stats is a snapshot of a cgroup's counters. Zero where the kernel has no such number.
type Stats struct {
	Time          time.Time
	CPUUsage      uint64 // ns
	CPUUser       uint64 // ns
	CPUSystem     uint64 // ns
	CPUThrottled  uint64 // ns
	CPUShares     uint64 // as v1 counts them, 1024 is the default
	CPUPeriod     uint64 // us
	CPUQuota      uint64 // us in each period; 0: none
	Periods       uint64
	ThrottledPer  uint64
	MemoryUsage   uint64 // bytes, with page cache
	MemoryMax     uint64 // the highest usage so far
	MemoryWorking uint64 // usage minus inactive file pages, the kubelet's measure
	MemoryRSS     uint64 // anonymous bytes
	MemoryLimit   uint64 // 0: none
	MemoryFails   uint64
	MemorySoft    uint64 // what is reclaimed last; 0: none
	MemoryCache   uint64 // pages of files
	MemoryMapped  uint64 // pages of files that are mapped
	MemoryKernel  uint64
	SwapUsage     uint64
	SwapLimit     uint64
	PageFaults    uint64
	MajorFaults   uint64
	PIDs          uint64
	PIDLimit      uint64 // 0: none
	OOMKills      uint64
	IO            []IOStat
	HugePages     []HugePageStat
	// Pressure is nil where the kernel does not tell it: there is none per cgroup v1.
	Pressure *Pressure
	Memory   map[string]uint64 // memory.stat as the kernel wrote it
}

// IOStat is one block device's counters.
type IOStat struct {
	Major, Minor          uint64
	ReadBytes, WriteBytes uint64
	Reads, Writes         uint64
}

// HugePageStat is the use of one size of huge pages.
type HugePageStat struct {
	Size       string // "2MB", as the kernel names it
	Usage, Max uint64 // bytes
}

// Stats reads the counters.
func (m *Manager) Stats() (Stats, error) {
	if !m.Exists() {
		return Stats{}, fmt.Errorf("reading cgroup %q: %w", m.Path, os.ErrNotExist)
	}
	s := Stats{Time: time.Now()}
	if m.Layout.V2 {
		m.statsV2(&s)
	} else {
		m.statsV1(&s)
	}
	if d := m.Dir("pids"); d != "" {
		s.PIDs, s.PIDLimit = number(d, "pids.current"), number(d, "pids.max")
	}
	s.MemoryWorking = s.MemoryUsage
	inactive := s.Memory["inactive_file"]
	if !m.Layout.V2 {
		inactive = s.Memory["total_inactive_file"]
	}
	s.MemoryWorking -= min(inactive, s.MemoryUsage)
	s.OOMKills, _ = m.OOMKills()
	return s, nil
}

func (m *Manager) statsV1(s *Stats) {
	if d := m.Dir("cpuacct"); d != "" {
		s.CPUUsage = number(d, "cpuacct.usage")
		s.CPUUser, s.CPUSystem = number(d, "cpuacct.usage_user"), number(d, "cpuacct.usage_sys")
	}
	if d := m.Dir("cpu"); d != "" {
		t := table(d, "cpu.stat")
		s.Periods, s.ThrottledPer, s.CPUThrottled = t["nr_periods"], t["nr_throttled"], t["throttled_time"]
		// No quota is -1, which is no number here.
		s.CPUShares, s.CPUPeriod, s.CPUQuota = number(d, "cpu.shares"), number(d, "cpu.cfs_period_us"), number(d, "cpu.cfs_quota_us")
	}
	if d := m.Dir("memory"); d != "" {
		s.MemoryUsage, s.MemoryLimit = number(d, "memory.usage_in_bytes"), number(d, "memory.limit_in_bytes")
		s.MemoryMax, s.MemoryFails = number(d, "memory.max_usage_in_bytes"), number(d, "memory.failcnt")
		s.Memory = table(d, "memory.stat")
		s.MemoryRSS, s.SwapUsage = s.Memory["total_rss"], s.Memory["total_swap"]
		s.PageFaults, s.MajorFaults = s.Memory["total_pgfault"], s.Memory["total_pgmajfault"]
		s.MemoryCache, s.MemoryMapped = s.Memory["total_cache"], s.Memory["total_mapped_file"]
		s.MemoryKernel, s.MemorySoft = number(d, "memory.kmem.usage_in_bytes"), number(d, "memory.soft_limit_in_bytes")
		if limit := number(d, "memory.memsw.limit_in_bytes"); limit > s.MemoryLimit {
			s.SwapLimit = limit - s.MemoryLimit
		}
	}
	if d := m.Dir("blkio"); d != "" {
		s.IO = ioV1(d)
	}
	if d := m.Dir("hugetlb"); d != "" {
		s.HugePages = hugePages(d, "usage_in_bytes", "max_usage_in_bytes")
	}
}

func (m *Manager) statsV2(s *Stats) {
	d := m.dirs[0]
	t := table(d, "cpu.stat")
	s.CPUUsage, s.CPUUser, s.CPUSystem = t["usage_usec"]*1000, t["user_usec"]*1000, t["system_usec"]*1000
	s.Periods, s.ThrottledPer, s.CPUThrottled = t["nr_periods"], t["nr_throttled"], t["throttled_usec"]*1000
	s.MemoryUsage, s.MemoryLimit = number(d, "memory.current"), number(d, "memory.max")
	s.MemoryMax, s.MemoryFails = number(d, "memory.peak"), table(d, "memory.events")["max"]
	s.SwapUsage, s.SwapLimit = number(d, "memory.swap.current"), number(d, "memory.swap.max")
	s.Memory = table(d, "memory.stat")
	s.MemoryRSS = s.Memory["anon"]
	s.PageFaults, s.MajorFaults = s.Memory["pgfault"], s.Memory["pgmajfault"]
	s.MemoryCache, s.MemoryMapped, s.MemoryKernel = s.Memory["file"], s.Memory["file_mapped"], s.Memory["kernel"]
	s.MemorySoft = number(d, "memory.low")
	s.CPUShares = Shares(number(d, "cpu.weight"))
	s.CPUQuota, s.CPUPeriod = bandwidth(d)
	s.IO = ioV2(d)
	// v2 remembers no maximum of huge pages: what is used now is the most that is known.
	s.HugePages = hugePages(d, "current", "current")
	s.Pressure = readPressure(d)
}

// bandwidth reads "QUOTA PERIOD"; the quota may be "max".
func bandwidth(dir string) (quota, period uint64) {
	text, _ := read(dir, "cpu.max")
	first, second, _ := strings.Cut(text, " ")
	quota, _ = strconv.ParseUint(first, 10, 64)
	period, _ = strconv.ParseUint(second, 10, 64)
	return quota, period
}

// hugePages reads hugetlb.SIZE.USAGE and hugetlb.SIZE.MOST of each size.
func hugePages(dir, usage, most string) []HugePageStat {
	files, _ := filepath.Glob(filepath.Join(dir, "hugetlb.*."+usage))
	var out []HugePageStat
	for _, f := range files {
		size := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "hugetlb."), "."+usage)
		if strings.Contains(size, ".") {
			continue // of reservations
		}
		out = append(out, HugePageStat{size, number(dir, "hugetlb."+size+"."+usage), number(dir, "hugetlb."+size+"."+most)})
	}
	return out
}

// ioV1 reads lines "8:0 Read 4096".
func ioV1(dir string) []IOStat {
	var out []IOStat
	at := func(major, minor uint64) *IOStat {
		for i := range out {
			if out[i].Major == major && out[i].Minor == minor {
				return &out[i]
			}
		}
		out = append(out, IOStat{Major: major, Minor: minor})
		return &out[len(out)-1]
	}
	scan := func(file string, f func(io *IOStat, op string, n uint64)) {
		text, _ := read(dir, file)
		for line := range strings.Lines(text) {
			w := strings.Fields(line)
			if len(w) != 3 {
				continue
			}
			major, minor, ok := device(w[0])
			n, err := strconv.ParseUint(w[2], 10, 64)
			if ok && err == nil {
				f(at(major, minor), w[1], n)
			}
		}
	}
	scan("blkio.throttle.io_service_bytes_recursive", func(io *IOStat, op string, n uint64) {
		switch op {
		case "Read":
			io.ReadBytes = n
		case "Write":
			io.WriteBytes = n
		}
	})
	scan("blkio.throttle.io_serviced_recursive", func(io *IOStat, op string, n uint64) {
		switch op {
		case "Read":
			io.Reads = n
		case "Write":
			io.Writes = n
		}
	})
	return out
}

// ioV2 reads lines "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0".
func ioV2(dir string) []IOStat {
	var out []IOStat
	text, _ := read(dir, "io.stat")
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 2 {
			continue
		}
		major, minor, ok := device(w[0])
		if !ok {
			continue
		}
		io := IOStat{Major: major, Minor: minor}
		for _, kv := range w[1:] {
			k, v, _ := strings.Cut(kv, "=")
			n, _ := strconv.ParseUint(v, 10, 64)
			switch k {
			case "rbytes":
				io.ReadBytes = n
			case "wbytes":
				io.WriteBytes = n
			case "rios":
				io.Reads = n
			case "wios":
				io.Writes = n
			}
		}
		out = append(out, io)
	}
	return out
}

func device(s string) (major, minor uint64, ok bool) {
	a, b, found := strings.Cut(s, ":")
	major, err1 := strconv.ParseUint(a, 10, 32)
	minor, err2 := strconv.ParseUint(b, 10, 32)
	return major, minor, found && errors.Join(err1, err2) == nil
}
