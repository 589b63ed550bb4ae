package oci

import (
	"encoding/json"
	"path"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/mount"
	"go.skiff.dev/skiff/internal/oci/defaults"
)

// FuzzSpec: any config.json is refused in words, or becomes a plan that init reads as it was written.
func FuzzSpec(f *testing.F) {
	add := func(edit func(*specs.Spec)) {
		s := defaults.Spec()
		edit(s)
		data, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	add(func(*specs.Spec) {})
	add(func(s *specs.Spec) {
		s.Process.Terminal, s.Process.ConsoleSize = true, &specs.Box{Height: 1, Width: 2}
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 2, Soft: 1}}
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1 << 31, Size: 1 << 31}}
	})
	add(func(s *specs.Spec) {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x/../..", Type: "bind", Source: "x", Options: []string{"rbind", "ro", "rslave", "idmap"}})
		s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/../x", Type: "c", Major: -1, Minor: 1 << 40}}
		s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/x", Args: []string{"\x00"}}}}
	})
	for _, s := range []string{`{}`, `{"ociVersion":"1.0.0","process":{"cwd":"/","args":[""],"user":{"uid":-1}}}`, `{"ociVersion":"1.0.0","linux":{"seccomp":{"defaultAction":"x"}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s specs.Spec
		if json.Unmarshal(data, &s) != nil {
			return
		}
		if err := Validate(&s); err != nil {
			if len(err.Error()) < 8 {
				t.Errorf("error without words: %q", err)
			}
			return
		}
		var p plan
		for _, m := range s.Mounts {
			mount.ParseOptions(m.Options)
		}
		if s.Linux != nil {
			p.masked, p.readonly, p.sysctls = s.Linux.MaskedPaths, s.Linux.ReadonlyPaths, planSysctls(s.Linux.Sysctl)
			for i := range s.Linux.Devices {
				d, err := planDevice(&s.Linux.Devices[i])
				if err == nil {
					p.devices = append(p.devices, d)
				}
			}
		}
		if s.Process == nil || planProcess(&p.process, s.Process, &s, nil, func(string) {}) != nil {
			return
		}
		out := coder{}
		p.code(&out)
		if out.err != nil {
			return // too large for a message
		}
		var again plan
		in := coder{b: out.b, read: true, born: 1}
		again.code(&in)
		back := coder{}
		again.code(&back)
		if in.err != nil || !reflect.DeepEqual(out.b, back.b) {
			t.Errorf("init reads another plan: %v\n%+v\n%+v", in.err, p, again)
		}
	})
}

// FuzzPlan: init survives any bytes from its parent.
func FuzzPlan(f *testing.F) {
	var c coder
	(&plan{hostname: "x", masked: []string{"/a"}, mounts: []mountPlan{{dest: "/b"}}}).code(&c)
	f.Add(c.b)
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		var p plan
		p.code(&coder{b: data, read: true})
	})
}

// FuzzSysctl: a setting that is let in lies in a namespace's own part of /proc/sys, whichever way it is spelled.
func FuzzSysctl(f *testing.F) {
	for _, s := range [][2]string{
		{"net.ipv4.ip_forward", "1"}, {"net/ipv4/conf/eth0.1/forwarding", "1"}, {"net.ipv4.conf.eth0/1.forwarding", "0"}, {"kernel.sem", "1 2 3 4"},
		{"net/../kernel/core_pattern", "|x"}, {"net.//kernel.core_pattern", "x"}, {"net./../kernel.x", ""}, {"user.max_user_namespaces", "1\n2"}, {"kernel/hostname", "x"}, {".", ""},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		if validSysctl(name, value, ^uint64(0), func(uint64) bool { return false }) != nil {
			return
		}
		p := planSysctls(map[string]string{name: value})[0].key
		full := path.Join("/proc/sys", p)
		ours := full == "/proc/sys/kernel/domainname"
		for _, below := range []string{"net/", "fs/mqueue/", "kernel/msg", "kernel/sem", "kernel/shm", "kernel/auto_msgmni", "user/"} {
			ours = ours || strings.HasPrefix(full, "/proc/sys/"+below)
		}
		if !ours || full != "/proc/sys/"+p || strings.ContainsAny(value, "\n\x00") {
			t.Errorf("%q = %q was let in as %s", name, value, full)
		}
	})
}
