package cgroup

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Sub says where below a container's cgroup one more process goes: a path for each controller that is named, or one
// under "" for all of them. What is not named stays in the container's own cgroup.
type Sub map[string]string

// Add moves a process, with all its threads, into the cgroup or to the place below it, which must be there already: who
// names a cgroup that nobody made has misspelt it.
func (m *Manager) Add(pid int, sub Sub) error {
	dirs, err := m.below(sub)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if err := write(d, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("adding pid %d to cgroups: %w", pid, err)
		}
	}
	return nil
}

// below are the directories of all hierarchies with sub put on top. A path may not leave the container's cgroup, nor
// reach a neighbour whose name begins like it (runc issue 5351): a process there would be free of the limits.
func (m *Manager) below(sub Sub) ([]string, error) {
	dirs := slices.Clone(m.dirs)
	for ctl, p := range sub {
		if rel := path.Join(".", p); rel == ".." || strings.HasPrefix(rel, "../") {
			return nil, fmt.Errorf("bad sub cgroup path: %q is not below the container's cgroup", p)
		}
		known := false
		for i, h := range m.Layout.Hierarchies {
			if ctl == "" || slices.Contains(h.Controllers, ctl) {
				dirs[i], known = filepath.Join(m.dirs[i], p), true
			}
		}
		if !known {
			return nil, fmt.Errorf("unknown controller %q in a sub cgroup path", ctl)
		}
	}
	return dirs, nil
}

// AddBeside puts a process into the cgroup, at or below m, of another one (v2 only).
func (m *Manager) AddBeside(pid, other int) error {
	p, err := Of(strconv.Itoa(other), "")
	if err != nil {
		return err
	}
	return write(filepath.Join(m.Layout.Hierarchies[0].Mount, p), "cgroup.procs", strconv.Itoa(pid))
}
