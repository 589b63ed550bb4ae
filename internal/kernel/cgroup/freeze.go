package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Freeze stops every process of the cgroup until Thaw.
func (m *Manager) Freeze() error { return m.freeze(true) }

// Thaw lets them run again.
func (m *Manager) Thaw() error { return m.freeze(false) }

// Frozen tells whether the cgroup is frozen.
func (m *Manager) Frozen() bool {
	if m.Layout.V2 {
		v, err := read(m.dirs[0], "cgroup.freeze")
		return err == nil && v == "1"
	}
	d := m.Dir("freezer")
	if d == "" {
		return false
	}
	v, err := read(d, "freezer.self_freezing")
	return err == nil && v == "1"
}

// Stops tells whether a process that entered the cgroup would stop at once, because it or one above it is frozen. The
// cgroup need not be there yet.
func (m *Manager) Stops() bool {
	dir, file, free := m.Dir("freezer"), "freezer.state", "THAWED"
	if m.Layout.V2 {
		file, free = "cgroup.events", "frozen 0"
	}
	for ; len(dir) > len(Root); dir = filepath.Dir(dir) { // the top has no such file
		if v, err := read(dir, file); err == nil {
			return !strings.Contains(v, free)
		}
	}
	return false
}

// freeze writes the wish and waits for the kernel to say that it is done. On v1 a cgroup that forks while it is
// frozen can stay FREEZING for ever until it is thawed for a moment, so that is what happens now and then.
func (m *Manager) freeze(on bool) error {
	dir, file, want, wish := m.Dir("freezer"), "freezer.state", "THAWED", "THAWED"
	switch {
	case m.Layout.V2:
		dir, file, want, wish = m.dirs[0], "cgroup.freeze", "frozen 0", "0"
		if on {
			want, wish = "frozen 1", "1"
		}
	case on:
		want, wish = "FROZEN", "FROZEN"
	}
	if dir == "" {
		return fmt.Errorf("freezing cgroup %q: no freezer controller is mounted", m.Path)
	}
	if err := write(dir, file, wish); err != nil {
		return err
	}
	state := file
	if m.Layout.V2 {
		state = "cgroup.events"
	}
	for i := range 2000 {
		v, err := read(dir, state)
		if err != nil {
			return err
		}
		if strings.Contains(v, want) {
			return nil
		}
		if on && !m.Layout.V2 && i%50 == 49 {
			_ = write(dir, file, "THAWED")     // the next write tells whether it can be written at all
			time.Sleep(100 * time.Microsecond) //nolint:forbidigo // version 1 tells of no change of the state
			if err := write(dir, file, wish); err != nil {
				return err
			}
		}
		time.Sleep(time.Duration(min(i, 20)*50) * time.Microsecond) //nolint:forbidigo // version 1 tells of no change of the state
	}
	if on {
		_ = write(dir, file, map[bool]string{true: "0", false: "THAWED"}[m.Layout.V2])
	}
	return fmt.Errorf("freezing cgroup %q: %w", m.Path, os.ErrDeadlineExceeded)
}
