package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestChangeIsWhole changes limits that were set and some that were not, and the kernel refuses the last.
func TestChangeIsWhole(t *testing.T) {
	for name, l := range layouts(t) {
		t.Run(name, func(t *testing.T) {
			path := fmt.Sprintf("/skiff-test-change-%d", os.Getpid())
			m, err := NewIn(l, path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Destroy() })
			if err := m.Create(); err != nil {
				t.Fatal(err)
			}
			if dir := m.Dir("pids"); dir == "" || missing(dir, "pids.max") || missing(m.Dir("cpu"), "cpu.*") || missing(m.Dir("memory"), "memory.*") {
				t.Skip("the controllers are not there")
			}
			if err := m.Set(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: new(int64(40))}}); err != nil {
				t.Fatal(err)
			}
			all := &specs.LinuxResources{
				CPU:    &specs.LinuxCPU{Shares: new(uint64(512)), Quota: new(int64(20000)), Period: new(uint64(50000))},
				Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20)), Swap: new(int64(64 << 20))},
				Pids:   &specs.LinuxPids{Limit: new(int64(5))},
			}
			before := m.limits(all)
			if len(before) < 5 {
				t.Fatalf("%v", before)
			}
			wrong := *all
			wrong.Unified = map[string]string{"no.such": "1"}
			if err := m.Change(&wrong); err == nil {
				t.Fatal("no error")
			}
			if got := changed(before); len(got) > 0 {
				t.Errorf("after a change that failed: %v", got)
			}
			if err := m.Change(all); err != nil {
				t.Fatal(err)
			}
			if got := changed(before); len(got) < 5 {
				t.Errorf("changed: %v", got)
			}
		})
	}
}

func missing(dir, pattern string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, pattern))
	return dir == "" || len(found) == 0
}

// changed are the files that have another value than before.
func changed(before limits) (all []string) {
	for _, l := range before {
		if now, err := read(l.dir, l.file); err != nil || now != l.value {
			all = append(all, fmt.Sprintf("%s: %q, was %q, %v", l.file, now, l.value, err))
		}
	}
	return all
}
