package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// layouts are the ones this machine has: its own, and version 2 where it is mounted beside version 1.
func layouts(t *testing.T) map[string]Layout {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	l, err := Detect()
	if err != nil {
		t.Skip(err)
	}
	out := map[string]Layout{"v1": l}
	if l.V2 {
		return map[string]Layout{"v2": l}
	}
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup/unified", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		out["v2"] = Layout{V2: true, Hierarchies: []Hierarchy{{Mount: "/sys/fs/cgroup/unified"}}}
	}
	return out
}

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestLife(t *testing.T) {
	for name, l := range layouts(t) {
		t.Run(name, func(t *testing.T) {
			m, err := NewIn(l, fmt.Sprintf("/skiff-test-%d/a", os.Getpid()))
			if err != nil {
				t.Fatal(err)
			}
			parent, _ := NewIn(l, fmt.Sprintf("/skiff-test-%d", os.Getpid()))
			t.Cleanup(func() { _ = m.Destroy(); _ = parent.Destroy() })
			if err := m.Create(); err != nil {
				t.Fatal(err)
			}
			cmd := sleeper(t)
			if err := m.Add(cmd.Process.Pid, nil); err != nil {
				t.Fatal(err)
			}
			if pids, err := parent.Procs(); err != nil || len(pids) != 1 || pids[0] != cmd.Process.Pid {
				t.Errorf("processes %v, %v", pids, err)
			}
			if err := m.Freeze(); err != nil || !m.Frozen() {
				t.Errorf("freeze: %v, frozen %v", err, m.Frozen())
			}
			if err := m.Thaw(); err != nil || m.Frozen() {
				t.Errorf("thaw: %v, frozen %v", err, m.Frozen())
			}
			if err := m.Kill(unix.SIGKILL); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // it was killed
			if err := parent.Destroy(); err != nil || parent.Exists() {
				t.Errorf("destroy: %v", err)
			}
		})
	}
}

// TestDevices denies everything and looks whether the standard nodes, and only they, still open.
func TestDevices(t *testing.T) {
	for name, l := range layouts(t) {
		t.Run(name, func(t *testing.T) {
			m, err := NewIn(l, fmt.Sprintf("/skiff-test-dev-%d", os.Getpid()))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Destroy() })
			if err := m.Create(); err != nil {
				t.Fatal(err)
			}
			one, eleven := int64(1), int64(11)
			r := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"},
				{Allow: true, Type: "c", Major: &one, Minor: &eleven, Access: "w"}}}
			set := setDevicesV1
			if l.V2 {
				set = setDevicesV2
			}
			for range 2 { // the second replaces the first
				if err := set(m, m.Dir("devices"), r); err != nil {
					t.Fatal(err)
				}
			}
			// A shell that waits until it is in the cgroup, then opens nodes it makes itself.
			cmd := exec.Command("sh", "-c", `read x; d=$(mktemp -d); cd $d
				mknod null c 1 3; mknod kmsg c 1 11; mknod port c 1 4
				try() { if sh -c "$2" 2>/dev/null; then echo $1 yes; else echo $1 no; fi; }
				try null ': <null >null'; try kmsg-write ': >kmsg'; try kmsg-read ': <kmsg'; try port ': <port'
				rm -r $d`)
			in, _ := cmd.StdinPipe()
			var out strings.Builder
			cmd.Stdout = &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if err := m.Add(cmd.Process.Pid, nil); err != nil {
				t.Fatal(err)
			}
			_, _ = in.Write([]byte("\n"))
			in.Close()
			_ = cmd.Wait() // what it prints tells
			if got, want := out.String(), "null yes\nkmsg-write yes\nkmsg-read no\nport no\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	l := layouts(t)["v1"]
	if l.Hierarchies == nil {
		t.Skip("cgroup v1 is not mounted")
	}
	m, err := NewIn(l, fmt.Sprintf("/skiff-test-lim-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Destroy() })
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	limit, quota, period, shares, pids := int64(64<<20), int64(25000), uint64(50000), uint64(512), int64(33)
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: &pids},
		CPU: &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares, Cpus: "0", Mems: "0"},
	}
	if err := m.Set(r); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"memory/memory.limit_in_bytes": "67108864", "cpu/cpu.cfs_quota_us": "25000", "cpu/cpu.cfs_period_us": "50000",
		"cpu/cpu.shares": "512", "pids/pids.max": "33", "cpuset/cpuset.cpus": "0",
	} {
		c, f, _ := strings.Cut(file, "/")
		if got, err := read(m.Dir(c), f); err != nil || got != want {
			t.Errorf("%s is %q (%v), want %q", file, got, err, want)
		}
	}
	if s, err := m.Stats(); err != nil || s.MemoryLimit != 64<<20 || s.PIDLimit != 33 {
		t.Errorf("stats %+v, %v", s, err)
	}
	bad := &specs.LinuxResources{Unified: map[string]string{"memory.high": "1"}}
	if err := m.Set(bad); err == nil || !strings.Contains(err.Error(), "unified") {
		t.Errorf("unified on v1: %v", err)
	}
}

func TestPaths(t *testing.T) {
	l := Layout{V2: true, Hierarchies: []Hierarchy{{Mount: "/sys/fs/cgroup"}}}
	for in, want := range map[string]string{
		"/a/b": "/sys/fs/cgroup/a/b", "machine.slice:podman:x": "/sys/fs/cgroup/machine.slice/podman-x.scope",
		"a-b.slice:p:n": "/sys/fs/cgroup/a.slice/a-b.slice/p-n.scope", ":runc:x": "/sys/fs/cgroup/system.slice/runc-x.scope",
	} {
		if m, err := NewIn(l, in); err != nil || m.Dir("x") != want {
			t.Errorf("%q: %v, %v, want %q", in, m, err, want)
		}
	}
	for _, in := range []string{"", "/", "/a/../..", "../a"} {
		if _, err := NewIn(l, in); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}

func TestWeight(t *testing.T) {
	for in, want := range map[uint64]uint64{0: 0, 1: 1, 2: 1, 1024: 100, 262144: 10000, 1 << 30: 10000} {
		if got := Weight(in); got != want {
			t.Errorf("Weight(%d) = %d, want %d", in, got, want)
		}
	}
}

func TestCreateRollsBack(t *testing.T) {
	l, ok := layouts(t)["v1"]
	if !ok {
		t.Skip("cgroup v1 is not mounted")
	}
	l.Hierarchies = append([]Hierarchy{}, l.Hierarchies...)
	l.Hierarchies = append(l.Hierarchies, Hierarchy{Mount: "/proc/nothing", Controllers: []string{"x"}})
	m, err := NewIn(l, fmt.Sprintf("/skiff-test-rb-%d/a/b", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Create(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("create: %v", err)
	}
	if top, _ := NewIn(l, fmt.Sprintf("/skiff-test-rb-%d", os.Getpid())); top.Exists() {
		t.Error("a directory is left")
	}
}
