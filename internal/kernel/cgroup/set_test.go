package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// fakeDir is a directory with the named files, empty: what is written to them can be read back.
func fakeDir(t *testing.T, files ...string) string {
	dir := t.TempDir()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCPUMax(t *testing.T) {
	for _, c := range []struct {
		quota  *int64
		period *uint64
		now    string
		want   string
	}{
		{nil, nil, "max 100000", ""},
		{new(int64(0)), new(uint64(0)), "5000 100000", ""},
		{new(int64(50000)), nil, "max 100000", "50000"},
		{new(int64(50000)), new(uint64(20000)), "max 100000", "50000 20000"},
		{new(int64(-1)), nil, "5000 100000", "max"},
		{new(int64(-1)), new(uint64(20000)), "5000 100000", "max 20000"},
		{nil, new(uint64(20000)), "5000 100000", "5000 20000"},
		{nil, new(uint64(20000)), "max 100000", "max 20000"},
		{nil, new(uint64(20000)), "", "max 20000"},
	} {
		if got := cpuMax(&specs.LinuxCPU{Quota: c.quota, Period: c.period}, c.now); got != c.want {
			t.Errorf("now %q: %q, want %q", c.now, got, c.want)
		}
	}
}

// An idle group takes no shares, but everything else.
func TestIdleKeepsTheRest(t *testing.T) {
	dir := fakeDir(t, "cpu.idle", "cpu.shares", "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.rt_period_us")
	err := setCPUv1(nil, dir, &specs.LinuxResources{CPU: &specs.LinuxCPU{Idle: new(int64(1)), Shares: new(uint64(512)),
		Period: new(uint64(20000)), Quota: new(int64(10000)), RealtimePeriod: new(uint64(30000))}})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"cpu.idle": "1", "cpu.shares": "", "cpu.cfs_period_us": "20000",
		"cpu.cfs_quota_us": "10000", "cpu.rt_period_us": "30000"} {
		if got, _ := read(dir, file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
}

func TestHugetlbReservations(t *testing.T) {
	r := &specs.LinuxResources{HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}}}
	for _, c := range []struct {
		v2    bool
		files []string
	}{
		{false, []string{"hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"}},
		{false, []string{"hugetlb.2MB.limit_in_bytes"}}, // Linux before 5.7
		{true, []string{"hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"}},
		{true, []string{"hugetlb.2MB.max"}},
	} {
		dir := fakeDir(t, c.files...)
		if err := setHugetlb(&Manager{Layout: Layout{V2: c.v2}}, dir, r); err != nil {
			t.Errorf("%v: %v", c.files, err)
		}
		for _, f := range c.files {
			if got, _ := read(dir, f); got != "4194304" {
				t.Errorf("%s is %q", f, got)
			}
		}
	}
}

func TestCheckUsage(t *testing.T) {
	for _, c := range []struct {
		mem  specs.LinuxMemory
		want string
	}{
		{specs.LinuxMemory{Limit: new(int64(50))}, ""},
		{specs.LinuxMemory{Limit: new(int64(50)), CheckBeforeUpdate: new(false)}, ""},
		{specs.LinuxMemory{Limit: new(int64(101)), CheckBeforeUpdate: new(true)}, ""},
		{specs.LinuxMemory{Limit: new(int64(-1)), Swap: new(int64(-1)), CheckBeforeUpdate: new(true)}, ""},
		{specs.LinuxMemory{Limit: new(int64(100)), CheckBeforeUpdate: new(true)}, "rejecting memory limit 100 <= usage 100"},
		{specs.LinuxMemory{Limit: new(int64(50)), Swap: new(int64(60)), CheckBeforeUpdate: new(true)},
			"rejecting memory+swap limit 60 <= usage 100"},
	} {
		got := ""
		if err := checkUsage(&c.mem, 100); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestWeightRange(t *testing.T) {
	for w, ok := range map[uint16]bool{0: true, 1: false, 9: false, 10: true, 1000: true, 1001: false, 65535: false} {
		for name, b := range map[string]specs.LinuxBlockIO{
			"weight": {Weight: &w}, "leaf": {LeafWeight: &w}, "device": {WeightDevice: []specs.LinuxWeightDevice{weightDevice(w)}},
		} {
			if err := checkWeights(&b); (err == nil) != ok {
				t.Errorf("%s %d: %v", name, w, err)
			}
		}
	}
	if lo, hi := IOWeight(MinWeight), IOWeight(MaxWeight); lo != 1 || hi != 10000 {
		t.Errorf("the ends of the scale are %d and %d", lo, hi)
	}
}

func weightDevice(w uint16) (d specs.LinuxWeightDevice) {
	d.Weight = &w
	return d
}

func TestSwapV2(t *testing.T) {
	for _, c := range []struct {
		limit, swap int64
		now         uint64
		want        string
		ok          bool
	}{
		{limit: 0, swap: 0, want: "", ok: true},
		{limit: 100, swap: 150, want: "50", ok: true},
		{limit: 100, swap: 150, now: 10, want: "50", ok: true},
		{swap: 150, now: 100, want: "50", ok: true}, // update of swap alone
		{swap: -1, want: "max", ok: true},
		{limit: -1, want: "max", ok: true},
		{swap: 150},
		{limit: -1, swap: 150, now: 100},
		{swap: 50, now: 100},
	} {
		got, err := swapV2(&specs.LinuxMemory{Limit: &c.limit, Swap: &c.swap}, c.now)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("limit %d, swap %d, now %d: %q, %v", c.limit, c.swap, c.now, got, err)
		}
	}
}
