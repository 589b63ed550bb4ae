package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

func TestSubCgroups(t *testing.T) {
	for _, c := range []struct {
		values string
		want   cgroup.Sub
		err    string
	}{
		{"", nil, ""},
		{"/", cgroup.Sub{"": "/"}, ""},
		{"a/b", cgroup.Sub{"": "a/b"}, ""},
		{"memory:m cpu,cpuacct:c", cgroup.Sub{"memory": "m", "cpu": "c", "cpuacct": "c"}, ""},
		{"name=systemd:x", cgroup.Sub{"name=systemd": "x"}, ""},
		{"cpu:a:b", cgroup.Sub{"cpu": "a:b"}, ""},
		{"a cpu:b", nil, "missing <controller>: prefix"},
		{":x", nil, "empty <controller> prefix"},
		{"cpu,:x", nil, "empty <controller> prefix"},
		{"cpu:a cpu:b", nil, "controller cpu specified multiple times"},
	} {
		got, err := subCgroups(strings.Fields(c.values))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.values, err, c.err)
			}
			continue
		}
		if err != nil || !maps.Equal(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%q: %v, %v; want %v", c.values, got, err, c.want)
		}
	}
}

func TestAddCaps(t *testing.T) {
	e := execFlags{caps: repeated{"CAP_SYS_TIME"}}
	p := specs.Process{Capabilities: &specs.LinuxCapabilities{Permitted: []string{"CAP_KILL"}}}
	e.addCaps(&p)
	if c := p.Capabilities; len(c.Ambient) != 0 || !slices.Equal(c.Permitted, []string{"CAP_KILL", "CAP_SYS_TIME"}) {
		t.Errorf("without inheritable ones: %+v", c)
	}
	p.Capabilities = &specs.LinuxCapabilities{Inheritable: []string{"CAP_KILL"}, Ambient: []string{"CAP_KILL"}}
	e.addCaps(&p)
	if c := p.Capabilities; !slices.Equal(c.Ambient, []string{"CAP_KILL", "CAP_SYS_TIME"}) || len(c.Inheritable) != 1 {
		t.Errorf("with inheritable ones: %+v", c)
	}
}
