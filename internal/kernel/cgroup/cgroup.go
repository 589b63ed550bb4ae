// Package cgroup makes, limits, reads and removes control groups by writing cgroupfs itself, on version 1 (one
// hierarchy per controller), version 2 (one for all) and the hybrid of both, which is version 1 with an empty 2.
//
// One Manager stands for one container's cgroup: the same path in every hierarchy.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Hierarchy is one mounted cgroup file system.
type Hierarchy struct {
	Mount       string   // where it is mounted
	Controllers []string // v1: "cpu", "cpuacct" or "name=systemd"; v2: none here, see cgroup.controllers; hybrid's v2: ""
}

// Layout is how this machine mounts its cgroups.
type Layout struct {
	V2          bool
	Hierarchies []Hierarchy // v2: exactly one
}

// Hybrid tells whether the hierarchy is the version 2 of a machine whose controllers are on version 1.
func (h Hierarchy) Hybrid() bool { return len(h.Controllers) == 1 && h.Controllers[0] == "" }

// Root is where cgroups are mounted by convention, systemd's and everyone's.
const Root = "/sys/fs/cgroup"

// hybridDir is where version 2 is mounted on a hybrid machine.
const hybridDir = "unified"

// ErrNone says that no cgroup file system is mounted.
var ErrNone = errors.New("no cgroup file system is mounted on " + Root)

// Detect reads the machine's layout.
func Detect() (Layout, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(Root, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		return Layout{V2: true, Hierarchies: []Hierarchy{{Mount: Root}}}, nil
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return Layout{}, fmt.Errorf("reading own cgroups: %w", err)
	}
	var l Layout
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		dir, magic := filepath.Join(Root, strings.TrimPrefix(f[1], "name=")), int64(unix.CGROUP_SUPER_MAGIC)
		if f[1] == "" { // 0:: is the version 2 of a hybrid machine, without limits, but programs look for themselves there
			dir, magic = filepath.Join(Root, hybridDir), unix.CGROUP2_SUPER_MAGIC
		}
		if unix.Statfs(dir, &st) != nil || st.Type != magic {
			continue // a controller that nobody mounted
		}
		l.Hierarchies = append(l.Hierarchies, Hierarchy{Mount: dir, Controllers: strings.Split(f[1], ",")})
	}
	if len(l.Hierarchies) == 0 || l.Hierarchies[0].Hybrid() {
		return Layout{}, ErrNone
	}
	return l, nil
}

// own reads the caller's own cgroup in a hierarchy, for relative paths.
func own(h Hierarchy) string {
	p, err := Of("self", strings.Join(h.Controllers, ","))
	if err != nil {
		return "/"
	}
	return p
}

// Of reads the cgroup of a process in the hierarchy that has these controllers, as /proc/PID/cgroup names them: none for
// version 2.
func Of(pid, controllers string) (string, error) {
	b, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", fmt.Errorf("reading cgroup of process %s: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 && f[1] == controllers {
			return f[2], nil
		}
	}
	return "", fmt.Errorf("reading cgroup of process %s: no line of the hierarchy %q", pid, controllers)
}

// Manager is one cgroup.
type Manager struct {
	Layout Layout
	Path   string // as given: absolute below each hierarchy's root, or relative to the caller's own cgroup
	dirs   []string
}

// New names a cgroup; nothing is made yet. p is runtime-spec's cgroupsPath: absolute from the mount point, or relative,
// then below the caller's own cgroup. "slice:prefix:name", systemd's notation, is understood as the path that systemd
// would choose.
func New(p string) (*Manager, error) {
	l, err := layout()
	if err != nil {
		return nil, err
	}
	return NewIn(l, p)
}

var detected atomic.Pointer[Layout]

// layout is Detect, which is asked once: mounts of cgroups do not change while something runs in them.
func layout() (Layout, error) {
	known := detected.Load()
	if known == nil {
		l, err := Detect()
		if err != nil {
			return l, err
		}
		known = &l
		detected.Store(known)
	}
	return Layout{known.V2, slices.Clone(known.Hierarchies)}, nil
}

// NewIn is New on a known layout.
func NewIn(l Layout, p string) (*Manager, error) {
	if parts := strings.Split(p, ":"); len(parts) == 3 && !strings.Contains(p, "/") {
		p = systemdPath(parts[0], parts[1], parts[2])
	}
	if clean := path.Clean("/" + p); clean == "/" {
		return nil, fmt.Errorf("linux.cgroupsPath: %q names the root cgroup", p)
	}
	for e := range strings.SplitSeq(p, "/") {
		if e == ".." {
			return nil, fmt.Errorf("linux.cgroupsPath: %q contains \"..\"", p)
		}
	}
	m := &Manager{Layout: l, Path: p}
	for _, h := range l.Hierarchies {
		base := h.Mount
		if !path.IsAbs(p) {
			base = filepath.Join(base, own(h))
		}
		m.dirs = append(m.dirs, filepath.Join(base, p))
	}
	return m, nil
}

// Reopen is New with the directories that an earlier New found: a relative path means another cgroup to a caller elsewhere.
// A cgroup of a skiff that took no notice of a hybrid machine's version 2 is not there, and so nothing is put there now.
func Reopen(p string, dirs []string) (*Manager, error) {
	m, err := New(p)
	if err != nil {
		return nil, err
	}
	if len(dirs) == len(m.dirs) {
		m.dirs = slices.Clone(dirs)
	}
	for i, h := range slices.Backward(m.Layout.Hierarchies) {
		if !h.Hybrid() {
			continue
		}
		if _, err := os.Lstat(m.dirs[i]); errors.Is(err, os.ErrNotExist) {
			m.Layout.Hierarchies, m.dirs = slices.Delete(m.Layout.Hierarchies, i, i+1), slices.Delete(m.dirs, i, i+1)
		}
	}
	return m, nil
}

// None stands for no cgroup at all: a user without rights to any makes containers without limits.
func None() *Manager { return &Manager{} }

// Split is the cgroup in the hierarchies of version 2, into which a child can be cloned (Into), and in those of version 1, which
// a thread enters by itself (Tasks).
func (m *Manager) Split() (v2, v1 *Manager) {
	v2, v1 = &Manager{Layout: Layout{V2: m.Layout.V2}, Path: m.Path}, &Manager{Path: m.Path}
	for i, h := range m.Layout.Hierarchies {
		part := v1
		if m.Layout.V2 || h.Hybrid() {
			part = v2
		}
		part.Layout.Hierarchies, part.dirs = append(part.Layout.Hierarchies, h), append(part.dirs, m.dirs[i])
	}
	return v2, v1
}

// Relative tells whether the path was relative to the caller's own cgroup.
func (m *Manager) Relative() bool { return !path.IsAbs(m.Path) }

// systemdPath expands a slice's dashes into its parents, as systemd.slice(5) does.
func systemdPath(slice, prefix, name string) string {
	if slice == "" {
		slice = "system.slice"
	}
	dir := "/"
	stem := strings.TrimSuffix(slice, ".slice")
	for i, r := range stem {
		if r == '-' && i > 0 {
			dir = path.Join(dir, stem[:i]+".slice")
		}
	}
	if stem != "-" {
		dir = path.Join(dir, stem+".slice")
	}
	if !strings.HasSuffix(name, ".slice") {
		name += ".scope"
	}
	if prefix != "" && !strings.HasSuffix(name, ".slice") {
		name = prefix + "-" + name
	}
	return path.Join(dir, name)
}

// Dir is the directory that holds the files of a v1 controller, or the one directory of v2. Empty when the machine
// does not mount the controller.
func (m *Manager) Dir(controller string) string {
	if m.Layout.V2 {
		return m.dirs[0]
	}
	for i, h := range m.Layout.Hierarchies {
		if slices.Contains(h.Controllers, controller) {
			return m.dirs[i]
		}
	}
	return ""
}

// Dirs are all directories, in the layout's order.
func (m *Manager) Dirs() []string { return m.dirs }

// Exists tells whether the cgroup is there.
func (m *Manager) Exists() bool {
	for _, d := range m.dirs {
		if _, err := os.Lstat(d); err == nil {
			return true
		}
	}
	return false
}

// Procs lists the processes of the cgroup and of all cgroups below it.
func (m *Manager) Procs() ([]int, error) {
	var dir string
	for _, d := range append([]string{m.Dir("pids")}, m.dirs...) {
		if _, err := os.Lstat(d); err == nil {
			dir = d
			break
		}
	}
	if dir == "" {
		return nil, nil
	}
	var out []int
	err := walk(dir, func(d string) error {
		v, err := read(d, "cgroup.procs")
		if err != nil {
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
				return nil
			}
			return err
		}
		for line := range strings.Lines(v) {
			if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
				out = append(out, n)
			}
		}
		return nil
	})
	return out, err
}

// walk visits dir and the cgroups below it, parents first.
func walk(dir string, f func(string) error) error {
	if err := f(dir); err != nil {
		return err
	}
	es, err := os.ReadDir(dir)
	if err != nil {
		return nil // removed meanwhile
	}
	for _, e := range es {
		if e.IsDir() {
			if err := walk(filepath.Join(dir, e.Name()), f); err != nil {
				return err
			}
		}
	}
	return nil
}
