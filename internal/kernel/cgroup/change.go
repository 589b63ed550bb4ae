package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// limitFiles are the files of one value that Set may write, by controller; a "*" is any size of huge pages.
func limitFiles(v2 bool) map[string][]string {
	if v2 {
		return map[string][]string{
			"cpuset":  {"cpuset.cpus", "cpuset.mems"},
			"cpu":     {"cpu.idle", "cpu.weight", "cpu.max", "cpu.max.burst"},
			"memory":  {"memory.max", "memory.low", "memory.swap.max"},
			"pids":    {"pids.max"},
			"blkio":   {"io.bfq.weight"},
			"hugetlb": {"hugetlb.*.max"},
		}
	}
	return map[string][]string{
		"cpuset":  {"cpuset.cpus", "cpuset.mems"},
		"cpu":     {"cpu.idle", "cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.cfs_burst_us", "cpu.rt_period_us", "cpu.rt_runtime_us"},
		"memory":  {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes", "memory.kmem.tcp.limit_in_bytes", "memory.swappiness"},
		"pids":    {"pids.max"},
		"blkio":   {"blkio.weight", "blkio.bfq.weight"},
		"hugetlb": {"hugetlb.*.limit_in_bytes"},
		"net_cls": {"net_cls.classid"},
	}
}

// Change is Set whole or not at all: the kernel has a file for each limit, and when it refuses one, those that were
// written before get back what they had, also if that was no limit. What is set per device is not put back.
func (m *Manager) Change(r *specs.LinuxResources) error {
	before := m.limits(r)
	err := m.Set(r)
	if err == nil {
		return nil
	}
	if undone := before.restore(); undone != nil {
		return fmt.Errorf("%w; and putting back what was set: %w", err, undone)
	}
	return err
}

// limit is what a file had.
type limit struct{ dir, file, value string }

type limits []limit

func (m *Manager) limits(r *specs.LinuxResources) (all limits) {
	add := func(dir, pattern string) {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range paths {
			if v, err := read(dir, filepath.Base(path)); err == nil {
				all = append(all, limit{dir, filepath.Base(path), v})
			}
		}
	}
	for controller, files := range limitFiles(m.Layout.V2) {
		for _, file := range files {
			if dir := m.Dir(controller); dir != "" {
				add(dir, file)
			}
		}
	}
	if m.Layout.V2 {
		for file := range r.Unified {
			add(m.dirs[0], filepath.Base(file))
		}
	}
	return all
}

// restore writes what differs. Some limits bound others (memory, and memory with swap), so it goes on while that helps.
func (all limits) restore() error {
	var failed []error
	for range len(all) {
		failed = nil
		helped := false
		for _, l := range all {
			if now, err := read(l.dir, l.file); err == nil && now == l.value {
				continue
			}
			if err := write(l.dir, l.file, l.value+"\n"); err != nil {
				failed = append(failed, err)
				continue
			}
			helped = true
		}
		if !helped || len(failed) == 0 {
			break
		}
	}
	return errors.Join(failed...)
}
