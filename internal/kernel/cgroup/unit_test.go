package cgroup

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestParseScope(t *testing.T) {
	for _, c := range []struct{ path, unit, slice, cgroup, err string }{
		{"", "skiff-id.scope", "system.slice", "/system.slice/skiff-id.scope", ""},
		{"::n", "n.scope", "system.slice", "/system.slice/n.scope", ""},
		{"kubepods-burstable-pod7.slice:cri-containerd:ab", "cri-containerd-ab.scope", "kubepods-burstable-pod7.slice",
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7.slice/cri-containerd-ab.scope", ""},
		{"-.slice:p:n", "p-n.scope", "-.slice", "/p-n.scope", ""},
		{"/a", "", "", "", "expected cgroupsPath to be of format"},
		{"a.slice:b", "", "", "", "expected cgroupsPath to be of format"},
		{"a.slice:b:../c", "", "", "", "expected cgroupsPath to be of format"},
		{"a:b:c", "", "", "", "not the name of a slice"},
		{"a.slice:b:", "", "", "", "name is empty"},
		{"a.slice:b:c.slice", "", "", "", "not a slice"},
	} {
		got, err := ParseScope(c.path, "system.slice", "id")
		if got != (Scope{c.unit, c.slice, c.cgroup}) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %+v, %v; want %+v", c.path, got, err, c)
		}
	}
}

func TestAllowed(t *testing.T) {
	device := func(allow bool, typ string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		d := specs.LinuxDeviceCgroup{Allow: allow, Type: typ, Access: access}
		if major >= 0 {
			d.Major = &major
		}
		if minor >= 0 {
			d.Minor = &minor
		}
		return d
	}
	none, all := device(false, "", -1, -1, "rwm"), device(true, "a", -1, -1, "rwm")
	for _, c := range []struct {
		list   []specs.LinuxDeviceCgroup
		strict bool
		want   string // the first entries; the standard ones follow
	}{
		{nil, false, "[]"},
		{[]specs.LinuxDeviceCgroup{all}, false, "[]"},
		{[]specs.LinuxDeviceCgroup{none, all}, false, "[]"},
		{[]specs.LinuxDeviceCgroup{none}, true, "[[char-* m] [block-* m]"},
		{[]specs.LinuxDeviceCgroup{none, device(true, "c", 10, 200, "rw")}, true, "[[/dev/char/10:200 rw] [char-* m]"},
		{[]specs.LinuxDeviceCgroup{none, device(true, "b", 8, -1, "r"), device(true, "", 7, 1, "w")}, true,
			"[[block-8 r] [/dev/char/7:1 w] [/dev/block/7:1 w] [char-* m]"},
		{[]specs.LinuxDeviceCgroup{none, device(true, "b", 8, 0, "r"), device(false, "b", 8, 0, "r")}, true, "[[char-* m]"},
	} {
		strict, got, err := Allowed(&specs.LinuxResources{Devices: c.list})
		if text := fmt.Sprint(got); strict != c.strict || err != nil || !strings.HasPrefix(text, c.want) {
			t.Errorf("%+v: %v, %s, %v; want %v, %s", c.list, strict, text, err, c.strict, c.want)
		}
		if strict && !slices.Contains(got, [2]string{"/dev/char/1:3", "rwm"}) {
			t.Errorf("%+v: no null device", c.list)
		}
	}
	if _, _, err := Allowed(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{device(true, "x", 1, 1, "r")}}); err == nil {
		t.Error("a device of no type was taken")
	}
}
