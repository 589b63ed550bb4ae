package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/oci"
)

// event is one line of `events`, in runc's shape.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

type (
	cpuUsage struct {
		Total  uint64   `json:"total"`
		PerCPU []uint64 `json:"percpu,omitempty"`
		Kernel uint64   `json:"kernel"`
		User   uint64   `json:"user"`
	}
	throttling struct {
		Periods          uint64 `json:"periods,omitempty"`
		ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
		ThrottledTime    uint64 `json:"throttledTime,omitempty"`
	}
	cpuStats struct {
		Usage      cpuUsage   `json:"usage"`
		Throttling throttling `json:"throttling"`

		PSI *cgroup.Stalls `json:"psi,omitempty"`
	}
	memoryEntry struct {
		Limit   uint64 `json:"limit"`
		Usage   uint64 `json:"usage,omitempty"`
		Max     uint64 `json:"max,omitempty"`
		Failcnt uint64 `json:"failcnt"`
	}
	memoryStats struct {
		Usage memoryEntry       `json:"usage"`
		Swap  memoryEntry       `json:"swap"`
		Raw   map[string]uint64 `json:"raw,omitempty"`
		PSI   *cgroup.Stalls    `json:"psi,omitempty"`
	}
	blkioEntry struct {
		Major uint64 `json:"major,omitempty"`
		Minor uint64 `json:"minor,omitempty"`
		Op    string `json:"op,omitempty"`
		Value uint64 `json:"value,omitempty"`
	}
	blkioStats struct {
		Bytes []blkioEntry   `json:"ioServiceBytesRecursive,omitempty"`
		Count []blkioEntry   `json:"ioServicedRecursive,omitempty"`
		PSI   *cgroup.Stalls `json:"psi,omitempty"`
	}
	pidStats struct {
		Current uint64 `json:"current,omitempty"`
		Limit   uint64 `json:"limit,omitempty"`
	}
	stats struct {
		CPU    cpuStats    `json:"cpu"`
		Memory memoryStats `json:"memory"`
		Pids   pidStats    `json:"pids"`
		Blkio  blkioStats  `json:"blkio"`

		Hugetlb map[string]cgroup.HugePages `json:"hugetlb,omitempty"`
	}
)

func statsOf(c *oci.Container) (stats, error) {
	s, err := c.Stats()
	if err != nil {
		return stats{}, err
	}
	out := stats{
		CPU: cpuStats{cpuUsage{Total: s.CPUUsage, Kernel: s.CPUSystem, User: s.CPUUser},
			throttling{s.Periods, s.ThrottledPer, s.CPUThrottled}, c.Pressure("cpu")},
		Memory: memoryStats{memoryEntry{s.MemoryLimit, s.MemoryUsage, s.MemoryMax, s.MemoryFails},
			memoryEntry{Limit: s.SwapLimit, Usage: s.SwapUsage}, s.Memory, c.Pressure("memory")},
		Pids: pidStats{s.PIDs, s.PIDLimit}, Blkio: blkioOf(s.IO, c.Pressure("io")), Hugetlb: c.HugePages(),
	}
	if s.MemoryLimit == 0 {
		out.Memory.Usage.Limit = math.MaxUint64 // as runc writes "max"
	}
	if d := c.Detail(); d != nil {
		out.CPU.Usage.PerCPU, out.Memory.Usage.Limit, out.Memory.Swap = d.PerCPU, d.Limit, memoryEntry{d.Swap.Limit, d.Swap.Usage, d.Swap.Max, d.Swap.Fails}
	}
	return out, nil
}

func blkioOf(io []cgroup.IOStat, psi *cgroup.Stalls) blkioStats {
	out := blkioStats{PSI: psi}
	for _, d := range io {
		out.Bytes = append(out.Bytes, blkioEntry{d.Major, d.Minor, "Read", d.ReadBytes}, blkioEntry{d.Major, d.Minor, "Write", d.WriteBytes})
		out.Count = append(out.Count, blkioEntry{d.Major, d.Minor, "Read", d.Reads}, blkioEntry{d.Major, d.Minor, "Write", d.Writes})
	}
	return out
}

func (a *app) events(args []string) (int, error) {
	fs := newFlags("events")
	interval := fs.Duration("interval", 5*time.Second, "")
	once := fs.Bool("stats", false, "")
	if err := a.parse(fs, args, 1, 1); err != nil {
		return 1, err
	}
	if *interval <= 0 {
		return 1, errors.New("duration interval must be greater than 0")
	}
	c, err := a.load(fs.Arg(0))
	if err != nil {
		return 1, err
	}
	if st, err := c.Status(); err != nil || st == specs.StateStopped {
		return 1, errors.Join(err, fmt.Errorf("container with id %s is not running", c.ID))
	}
	var mu sync.Mutex
	emit := func(e event) error {
		mu.Lock()
		defer mu.Unlock()
		return json.NewEncoder(a.stdout).Encode(e)
	}
	if *once {
		s, err := statsOf(c)
		if err != nil {
			return 1, err
		}
		return 0, emit(event{"stats", c.ID, s})
	}
	return 0, a.follow(c, *interval, emit)
}

// follow prints statistics at the interval the caller asked for, and a line for each kill, until the container ends.
func (a *app) follow(c *oci.Container, interval time.Duration, emit func(event) error) error {
	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	if err := c.WatchOOM(ctx, func(uint64) { _ = emit(event{Type: "oom", ID: c.ID}) }); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = oci.WaitGone(ctx, c.Init.PIDFD)
		close(ended)
	}()
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ended:
			return nil
		case <-t.C:
			s, err := statsOf(c)
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := emit(event{"stats", c.ID, s}); err != nil {
				return err
			}
		}
	}
}
