package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBelow(t *testing.T) {
	v1 := &Manager{Layout: Layout{Hierarchies: []Hierarchy{
		{"/m", []string{"memory"}}, {"/c", []string{"cpu", "cpuacct"}}, {"/s", []string{"name=systemd"}}}},
		dirs: []string{"/m/x", "/c/x", "/s/x"}}
	v2 := &Manager{Layout: Layout{V2: true, Hierarchies: []Hierarchy{{Mount: "/u"}}}, dirs: []string{"/u/x"}}
	for _, c := range []struct {
		m    *Manager
		sub  Sub
		want []string
		err  string
	}{
		{v1, nil, []string{"/m/x", "/c/x", "/s/x"}, ""},
		{v1, Sub{"": "/"}, []string{"/m/x", "/c/x", "/s/x"}, ""},
		{v1, Sub{"": "a/../b"}, []string{"/m/x/b", "/c/x/b", "/s/x/b"}, ""},
		{v1, Sub{"memory": "m", "cpuacct": "/c"}, []string{"/m/x/m", "/c/x/c", "/s/x"}, ""},
		{v1, Sub{"name=systemd": "d"}, []string{"/m/x", "/c/x", "/s/x/d"}, ""},
		{v1, Sub{"": ".."}, nil, "bad sub cgroup path"},
		{v1, Sub{"": "../x2"}, nil, "bad sub cgroup path"}, // a neighbour whose name begins like it
		{v1, Sub{"cpu": "/../../x"}, nil, "bad sub cgroup path"},
		{v1, Sub{"cpu": "a/../../x"}, nil, "bad sub cgroup path"},
		{v1, Sub{"whaaat": "/"}, nil, "unknown controller"},
		{v2, Sub{"": "a"}, []string{"/u/x/a"}, ""},
		{v2, Sub{"cpu": "a"}, nil, "unknown controller"},
	} {
		got, err := c.m.below(c.sub)
		if !slices.Equal(got, c.want) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v, %v; want %v, %q", c.sub, got, err, c.want, c.err)
		}
	}
}

// A place that nobody made is an error and is not made; one that is there takes the process.
func TestAddBelow(t *testing.T) {
	for name, l := range layouts(t) {
		t.Run(name, func(t *testing.T) {
			m, err := NewIn(l, fmt.Sprintf("/skiff-test-below-%d", os.Getpid()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Destroy() })
			if err := m.Create(); err != nil {
				t.Fatal(err)
			}
			pid := sleeper(t).Process.Pid
			err = m.Add(pid, Sub{"": "none"})
			if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), fmt.Sprintf("adding pid %d to cgroups", pid)) {
				t.Errorf("absent place: %v", err)
			}
			for _, d := range m.Dirs() {
				if _, err := os.Lstat(filepath.Join(d, "none")); err == nil {
					t.Errorf("%s/none was made", d)
				}
				if _, err := m.makeAll(filepath.Dir(d), filepath.Base(d)+"/sub"); err != nil {
					t.Fatal(err)
				}
			}
			if err := m.Add(pid, Sub{"": "sub"}); err != nil {
				t.Fatal(err)
			}
			got, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			if !strings.Contains(string(got), m.Path+"/sub\n") {
				t.Errorf("the process is in\n%s", got)
			}
			if err := m.Kill(9); err != nil {
				t.Error(err)
			}
		})
	}
}

// Stops sees also what freezes from above, which Frozen does not count as the cgroup's own state.
func TestStops(t *testing.T) {
	for name, l := range layouts(t) {
		t.Run(name, func(t *testing.T) {
			p := fmt.Sprintf("/skiff-test-stops-%d", os.Getpid())
			above, _ := NewIn(l, p)
			m, err := NewIn(l, p+"/a")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = above.Thaw(); _ = above.Destroy() })
			if err := m.Create(); err != nil {
				t.Fatal(err)
			}
			if m.Stops() {
				t.Error("a new cgroup stops what enters it")
			}
			if err := above.Freeze(); err != nil {
				t.Fatal(err)
			}
			if absent, _ := NewIn(l, p+"/b/c"); !absent.Stops() {
				t.Error("one that is not there yet would not stop what enters it")
			}
			if !m.Stops() || m.Frozen() || m.Roomy() {
				t.Errorf("below a frozen cgroup: stops %v, frozen %v, room %v", m.Stops(), m.Frozen(), m.Roomy())
			}
			if err := above.Thaw(); err != nil || m.Stops() || !m.Roomy() {
				t.Errorf("after the thaw: stops %v, room %v, %v", m.Stops(), m.Roomy(), err)
			}
		})
	}
}

// TestReopenWithoutHybrid opens a cgroup that an older skiff has made, on a hybrid machine: a further process can go there.
func TestReopenWithoutHybrid(t *testing.T) {
	l, ok := layouts(t)["v1"]
	i := slices.IndexFunc(l.Hierarchies, Hierarchy.Hybrid)
	if !ok || i < 0 {
		t.Skip("version 2 is not mounted beside version 1")
	}
	old := Layout{Hierarchies: slices.Delete(slices.Clone(l.Hierarchies), i, i+1)}
	p := fmt.Sprintf("/skiff-test-old-%d", os.Getpid())
	made, err := NewIn(old, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = made.Destroy() })
	if err := made.Create(); err != nil {
		t.Fatal(err)
	}
	m, err := Reopen(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if into, err := m.Into(); into != nil || err != nil {
		t.Errorf("into %v: %v", into, err)
	}
	cmd := sleeper(t)
	if err := m.Add(cmd.Process.Pid, nil); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// TestDiesAsOne: at whatever height it is said.
func TestDiesAsOne(t *testing.T) {
	l, ok := layouts(t)["v2"]
	if !ok {
		t.Skip("version 2 is not mounted")
	}
	p := fmt.Sprintf("/skiff-test-as-one-%d", os.Getpid())
	above, _ := NewIn(l, p)
	m, err := NewIn(l, p+"/a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = above.Destroy() })
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	f, err := m.Into()
	if err != nil || f == nil {
		t.Fatalf("nobody can be cloned into a new cgroup: %v", err)
	}
	f.Close()
	if m.DiesAsOne() {
		t.Error("a new cgroup dies as a whole")
	}
	if _, err := os.Lstat(filepath.Join(m.dirs[0], "memory.oom.group")); err != nil {
		t.Skip("version 2 has no memory controller here")
	}
	for _, dir := range []string{m.dirs[0], above.dirs[0]} {
		if err := write(dir, "memory.oom.group", "1"); err != nil {
			t.Fatal(err)
		}
		if !m.DiesAsOne() {
			t.Errorf("%s does not die as a whole", dir)
		}
		if err := write(dir, "memory.oom.group", "0"); err != nil {
			t.Fatal(err)
		}
	}
}
