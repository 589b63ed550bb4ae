package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Create makes the cgroup in every hierarchy. What it made is removed again when a later step fails.
func (m *Manager) Create() error {
	_, _, err := m.Make()
	return err
}

// Make is Create, and tells whether the cgroup was there already in some hierarchy. undo removes what was made.
func (m *Manager) Make() (existed bool, undo func(), err error) {
	var made []string
	undo = func() {
		for _, dir := range slices.Backward(made) {
			_ = unix.Rmdir(dir)
		}
	}
	for i, d := range m.dirs {
		base := m.Layout.Hierarchies[i].Mount
		got, err := m.makeAll(base, strings.TrimPrefix(d, base))
		made = append(made, got...)
		if err != nil {
			undo()
			return false, nil, fmt.Errorf("creating cgroup %q: %w", d, err)
		}
		existed = existed || len(got) == 0
	}
	return existed, undo, nil
}

// makeAll makes base/rel and its parents, and returns what was not there.
func (m *Manager) makeAll(base, rel string) (made []string, err error) {
	full := filepath.Join(base, rel)
	if m.Layout.V2 {
		enable(filepath.Dir(full))
	}
	switch err := unix.Mkdir(full, 0o755); err {
	case nil:
		made = append(made, full)
		return made, m.inherit(full)
	case unix.EEXIST:
		return nil, nil
	case unix.ENOENT:
	default:
		return nil, err
	}
	dir := base
	for e := range strings.SplitSeq(strings.Trim(rel, "/"), "/") {
		if m.Layout.V2 {
			enable(dir)
		}
		dir = filepath.Join(dir, e)
		err := unix.Mkdir(dir, 0o755)
		if err == unix.EEXIST {
			continue
		}
		if err != nil {
			return made, err
		}
		made = append(made, dir)
		if err := m.inherit(dir); err != nil {
			return made, err
		}
	}
	return made, nil
}

// enable hands every controller that dir has down to its children. One that cannot be handed down (processes in dir,
// a real-time process somewhere) is left out; a limit that needs it says so later.
func enable(dir string) {
	have, err := read(dir, "cgroup.controllers")
	if err != nil {
		return
	}
	down, _ := read(dir, "cgroup.subtree_control")
	var missing []string
	for c := range strings.FieldsSeq(have) {
		if !slices.Contains(strings.Fields(down), c) {
			missing = append(missing, "+"+c)
		}
	}
	if len(missing) == 0 || write(dir, "cgroup.subtree_control", strings.Join(missing, " ")) == nil {
		return
	}
	for _, c := range missing {
		_ = write(dir, "cgroup.subtree_control", c) // see above
	}
}

// inherit gives a new v1 cpuset its parent's CPUs and memory nodes; empty ones accept no process.
func (m *Manager) inherit(dir string) error {
	if m.Layout.V2 || !m.isCpuset(dir) {
		return nil
	}
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		v, err := read(filepath.Dir(dir), f)
		if err == nil && v == "" {
			// Someone else has just made the parent and not filled it yet.
			if err = m.inherit(filepath.Dir(dir)); err == nil {
				v, err = read(filepath.Dir(dir), f)
			}
		}
		if err != nil {
			return err
		}
		if err := write(dir, f, v); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) isCpuset(dir string) bool {
	for _, h := range m.Layout.Hierarchies {
		if slices.Contains(h.Controllers, "cpuset") && strings.HasPrefix(dir, h.Mount+"/") {
			return true
		}
	}
	return false
}
