package cgroup

import (
	"errors"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What the start of a small Go program wants: fewer tasks, less memory, or a smaller share of the CPU, and it or another
// one dies or waits for most of a scheduling period.
const (
	RoomPids   = 16
	RoomQuota  = 20_000 // of the usual 100,000 us
	RoomMemory = 16 << 20
)

// Tasks opens the v1 files with which a thread enters the cgroup by itself: it writes "0". There are none on v2.
func (m *Manager) Tasks() (files []*os.File, err error) {
	if m.Layout.V2 {
		return nil, nil
	}
	for i, d := range m.dirs {
		if m.Layout.Hierarchies[i].Hybrid() {
			continue
		}
		var fd int
		if fd, err = openWrite(d, "tasks"); err != nil {
			break
		}
		files = append(files, os.NewFile(uintptr(fd), "tasks"))
	}
	if err == nil {
		return files, nil
	}
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return nil, err
}

// Into opens the directory of the version 2 hierarchy, into which a child can be cloned (clone3's CLONE_INTO_CGROUP, Linux
// 5.7). It is the cheap way in there: a process that is moved waits for an RCU grace period. It is nil where there is no
// such hierarchy.
func (m *Manager) Into() (*os.File, error) {
	for i, h := range m.Layout.Hierarchies {
		if m.Layout.V2 || h.Hybrid() {
			return os.OpenFile(m.dirs[i], unix.O_PATH|unix.O_DIRECTORY, 0)
		}
	}
	return nil, nil
}

// DiesAsOne tells whether the cgroup, or one above, ends as a whole when memory is short (version 2's memory.oom.group).
// Nobody may clone a child there that shares memory (CLONE_VM), as Go's until it executes its program: who is killed so
// takes all with it that share theirs. The kernel spares such a child (in_vfork) only where it chooses one process.
func (m *Manager) DiesAsOne() bool {
	if !m.Layout.V2 {
		return false
	}
	for dir, top := m.dirs[0], m.Layout.Hierarchies[0].Mount; len(dir) > len(top); dir = filepath.Dir(dir) {
		if number(dir, "memory.oom.group") == 1 {
			return true
		}
	}
	return false
}

// Roomy tells whether a cgroup has room for a Go program to start in: neither it nor one above is frozen (who clones into
// a frozen cgroup waits, and with it all who want to clone), and it is not near its limits.
func (m *Manager) Roomy() bool {
	if m.Frozen() || m.Stops() {
		return false
	}
	if d := m.Dir("pids"); d != "" {
		if limit := number(d, "pids.max"); limit > 0 && number(d, "pids.current")+RoomPids > limit {
			return false
		}
	}
	limit, usage := "memory.limit_in_bytes", "memory.usage_in_bytes"
	if m.Layout.V2 {
		limit, usage = "memory.max", "memory.current"
	}
	if d := m.Dir("memory"); d != "" {
		if limit := number(d, limit); limit > 0 && number(d, usage)+RoomMemory > limit {
			return false
		}
	}
	return m.quota() >= RoomQuota
}

// quota is the CPU time in 100,000 us, or very much.
func (m *Manager) quota() uint64 {
	var quota, period uint64
	if d := m.Dir("cpu"); m.Layout.V2 {
		quota, period = bandwidth(d)
	} else if d != "" {
		quota, period = number(d, "cpu.cfs_quota_us"), number(d, "cpu.cfs_period_us")
	}
	if quota == 0 || period == 0 {
		return math.MaxUint64
	}
	return quota * 100_000 / period
}
