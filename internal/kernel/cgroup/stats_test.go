package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestShares(t *testing.T) {
	for shares, weight := range map[uint64]uint64{0: 0, 2: 1, 1024: 100, 262144: 10000} {
		if got := Shares(weight); got != shares {
			t.Errorf("Shares(%d) is %d, not %d", weight, got, shares)
		}
	}
}

func TestParseStalls(t *testing.T) {
	got := parseStalls("some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.75 avg60=0.00 avg300=0.00 total=99\nmore x\n\n")
	want := Stalls{Some: Stall{Avg10: 1.5, Avg60: 0.25, Total: 1234}, Full: Stall{Avg10: 0.75, Total: 99}}
	if got != want {
		t.Errorf("%+v", got)
	}
}

// The files of v2 are not on every machine that runs the tests.
func TestFilesOfV2(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{
		"cpu.max": "20000 100000", "hugetlb.2MB.current": "4194304", "hugetlb.2MB.rsvd.current": "1",
		"cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if quota, period := bandwidth(dir); quota != 20000 || period != 100000 {
		t.Errorf("quota %d in %d", quota, period)
	}
	if huge := hugePages(dir, "current", "current"); len(huge) != 1 || huge[0] != (HugePageStat{"2MB", 4194304, 4194304}) {
		t.Errorf("%v", huge)
	}
	if p := readPressure(dir); p == nil || p.CPU.Some.Total != 5 {
		t.Errorf("%v", p)
	}
	if p := readPressure(t.TempDir()); p != nil {
		t.Errorf("pressure of nothing: %v", p)
	}
}
