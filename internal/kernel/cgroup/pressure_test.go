package cgroup

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestHugePages(t *testing.T) {
	for _, c := range []struct {
		v2    bool
		files map[string]string
		want  HugePages
	}{
		{true, map[string]string{"current": "4096", "events": "max 3", "rsvd.current": "1"}, HugePages{Usage: 4096, Failcnt: 3}},
		{false, map[string]string{"usage_in_bytes": "4096", "max_usage_in_bytes": "8192", "failcnt": "3", "rsvd.usage_in_bytes": "1"}, HugePages{4096, 8192, 3}},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, "hugetlb.2MB."+name), []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m := &Manager{Layout: Layout{V2: c.v2, Hierarchies: []Hierarchy{{Controllers: []string{"hugetlb"}}}}, dirs: []string{dir}}
		if got := m.HugePages(); !maps.Equal(got, map[string]HugePages{"2MB": c.want}) {
			t.Errorf("version 2 %t: %+v, want %+v", c.v2, got, c.want)
		}
	}
}
