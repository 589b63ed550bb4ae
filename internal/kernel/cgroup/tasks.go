package cgroup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// What the start of a small Go program wants: fewer tasks, or a smaller share of the CPU, and it dies or waits for
// most of a scheduling period.
const (
	RoomPids  = 16
	RoomQuota = 20_000 // of the usual 100,000 us
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

// Into opens the directory of a hybrid machine's version 2, into which a child can be cloned (clone3's CLONE_INTO_CGROUP,
// Linux 5.7): the cheap way in there, which has no "tasks". It is nil where there is no such directory.
func (m *Manager) Into() (*os.File, error) {
	for i, h := range m.Layout.Hierarchies {
		if h.Hybrid() {
			return os.OpenFile(m.dirs[i], unix.O_PATH|unix.O_DIRECTORY, 0)
		}
	}
	return nil, nil
}

// Roomy tells whether a v1 cgroup has room for a Go program to start in: it is not frozen, and not near its limits.
func (m *Manager) Roomy() bool {
	if m.Layout.V2 || m.Frozen() {
		return false
	}
	if d := m.Dir("pids"); d != "" {
		if limit := number(d, "pids.max"); limit > 0 && number(d, "pids.current")+RoomPids > limit {
			return false
		}
	}
	if d := m.Dir("cpu"); d != "" {
		if quota := number(d, "cpu.cfs_quota_us"); quota > 0 && quota < RoomQuota {
			return false
		}
	}
	return true
}
