package oci

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestWorkingDirectoryThroughDescriptor: CVE-2016-9962, CVE-2024-21626. No descriptor of the host leads anywhere.
func TestWorkingDirectoryThroughDescriptor(t *testing.T) {
	running := newBox(t, "sleep 1000")
	running.start()
	for n := 3; n < 20; n++ {
		cwd := fmt.Sprintf("/proc/self/fd/%d", n)
		b := newBox(t, "readlink /proc/self/cwd")
		b.spec.Process.Cwd = cwd
		if err := b.create(); err != nil {
			continue // refused early is as good
		}
		if err := b.c.Start(t.Context()); err == nil {
			_, _ = b.c.Init.Wait()
			t.Errorf("cwd %s leads to %q", cwd, b.output())
		}
		p := *running.spec.Process
		p.Cwd, p.Args = cwd, []string{"true"}
		if _, err := running.exec(ExecOptions{Spec: &p}); err == nil {
			t.Errorf("exec with cwd %s", cwd)
		}
	}
}

// TestProcIsLink: CVE-2019-16884 and its family. proc and sys must be directories of the root itself.
func TestProcIsLink(t *testing.T) {
	for _, dir := range []string{"proc", "sys"} {
		b := newBox(t, "true")
		must(t, os.Mkdir(b.root+"/elsewhere", 0o755))
		must(t, os.Symlink("elsewhere", b.root+"/"+dir))
		if err := b.create(); err == nil || !strings.Contains(err.Error(), "must be mounted on ordinary directory") {
			t.Errorf("%s is a link: %v", dir, err)
		}
		b.clean()
	}
}

// TestDevIsLink: CVE-2026-41579. Nothing is made, and no mode changed, where an image's /dev points.
func TestDevIsLink(t *testing.T) {
	b := newBox(t, "true")
	marker := t.TempDir()
	must(t, os.Symlink("../../../../../../../.."+marker, b.root+"/dev"))
	var ms []specs.Mount
	for _, m := range b.spec.Mounts {
		if !strings.HasPrefix(m.Destination, "/dev") {
			ms = append(ms, m)
		}
	}
	b.spec.Mounts = ms
	if err := b.create(); err == nil {
		t.Error("devices were made through a link")
	}
	if es, _ := os.ReadDir(marker); len(es) > 0 {
		t.Errorf("the host's directory holds %v", es)
	}
	b.clean()
}

// TestNullIsLink: CVE-2025-31133. The image's own /dev/null is not what masks.
func TestNullIsLink(t *testing.T) {
	b := newBox(t, "cat /proc/timer_list | head -c 3; grep -c sysrq /proc/self/mountinfo")
	must(t, os.Mkdir(b.root+"/dev", 0o755))
	must(t, os.Symlink("/proc/sysrq-trigger", b.root+"/dev/null"))
	b.spec.Linux.MaskedPaths = []string{"/proc/timer_list"}
	b.spec.Linux.ReadonlyPaths = nil
	b.spec.Process.Args[2] = "cat /proc/timer_list | head -c 3; grep -c ' /proc/timer_list ' /proc/self/mountinfo"
	if out, _ := b.run(); out != "1" {
		t.Errorf("printed %q", out)
	}
}

// TestSelfExe: CVE-2019-5736. What runs as init cannot be written through /proc.
func TestSelfExe(t *testing.T) {
	before := hostBinary(t)
	b := newBox(t, "")
	b.spec.Process.Args = []string{"/proc/self/exe", "init"} // init again, of the container: dies, harmlessly
	if err := b.create(); err != nil {
		t.Fatal(err)
	}
	// Seen from outside with all rights, the file behind init is not writable either.
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/exe", b.c.Init.PID), os.O_WRONLY, 0)
	if err == nil {
		if _, err = f.Write([]byte("#!/bin/sh\n")); err == nil {
			t.Error("init's program was written to")
		}
		f.Close()
	}
	if hostBinary(t) != before {
		t.Error("the host's program changed")
	}
}

func hostBinary(t *testing.T) string {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(st.Size(), st.ModTime())
}

// TestMountInsideProc: CVE-2019-16884. Only a procfs on /proc, and only known files below it.
func TestMountInsideProc(t *testing.T) {
	dir := t.TempDir()
	for dest, ok := range map[string]bool{"/proc/self/attr": false, "/proc/sys": false, "/proc": false, "/proc/uptime": true} {
		b := newBox(t, "true")
		src := dir
		if ok {
			src = dir + "/f"
			must(t, os.WriteFile(src, nil, 0o644))
		}
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: dest, Source: src, Options: []string{"bind"}})
		if err := b.create(); (err == nil) != ok {
			t.Errorf("mount on %s: %v", dest, err)
		}
	}
}

// TestLinkOutOfRoot: CVE-2021-30465's still life. Links of the image lead nowhere but into the image.
func TestLinkOutOfRoot(t *testing.T) {
	b := newBox(t, "ls /etc2")
	host := t.TempDir()
	must(t, os.Symlink("../../../../../../../.."+host, b.root+"/link"))
	must(t, os.Symlink(host, b.root+"/abs"))
	for _, d := range []string{"/link/x", "/abs/y"} {
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: d, Type: "tmpfs", Source: "tmpfs"})
	}
	_ = b.create() // whether it works is all the same
	if es, _ := os.ReadDir(host); len(es) > 0 {
		t.Errorf("the host's directory holds %v", es)
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		want string
		edit func(*specs.Spec)
	}{
		{"ociVersion", func(s *specs.Spec) { s.Version = "2.0.0" }},
		{"process.cwd", func(s *specs.Spec) { s.Process.Cwd = "x" }},
		{"root: must be given", func(s *specs.Spec) { s.Root = nil }},
		{"process.args", func(s *specs.Spec) { s.Process.Args = nil }},
		{"process.user", func(s *specs.Spec) { s.Process.User.UID = 1<<32 - 1 }},
		{"process.rlimits[1]", func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}, {Type: "RLIMIT_CORE"}}
		}},
		{"linux.namespaces[0].type", func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "x" }},
		{"duplicate namespace", func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "network" }},
		{"linux.uidMappings", func(s *specs.Spec) { s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}} }},
		{"mounts[0].destination", func(s *specs.Spec) { s.Mounts[0].Destination = "" }},
		{`linux.sysctl["kernel.core_pattern"]`, func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.core_pattern": "|x"} }},
		{`linux.sysctl["net.ipv4.ip_forward+kernel.core_pattern"]`, func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward+kernel.core_pattern": "1"}
		}},
		{`linux.sysctl["net/../kernel/core_pattern"]`, func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"net/../kernel/core_pattern": "1"}
		}},
		{"linux.sysctl", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.ipv4.x": "1\n2"} }},
		{"hostname", func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:3] }},
		{"linux.intelRdt", func(s *specs.Spec) { s.Linux.IntelRdt = &specs.LinuxIntelRdt{} }},
		{"linux.cgroupsPath", func(s *specs.Spec) { s.Linux.CgroupsPath = "/../x" }},
		{"hooks.poststart[0].path", func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "x"}}} }},
		{"linux.seccomp.syscalls[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/x", Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "write"}, Action: specs.ActNotify}}}
		}},
		{"linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActNotify, ListenerPath: "/x"}
		}},
		{"ociVersion", func(s *specs.Spec) { s.Version = "1.x" }},
		{"process.rlimits[0].soft: 2 is more than the hard limit, 1", func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 2, Hard: 1}}
		}},
		{`linux.timeOffsets["boottime"].nanosecs`, func(s *specs.Spec) { newTime(s, specs.LinuxTimeOffset{Nanosecs: 1e9}) }},
		{"linux.timeOffsets: cloning init", func(s *specs.Spec) { newTime(s, specs.LinuxTimeOffset{Secs: -1 << 40}) }},
		{"linux.uidMappings, linux.gidMappings: cloning init", func(s *specs.Spec) {
			maps := []specs.LinuxIDMapping{{HostID: 100000, Size: 10}, {ContainerID: 5, HostID: 200000, Size: 10}}
			s.Linux.UIDMappings, s.Linux.GIDMappings = maps, maps
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		}},
		{"mounts[0] (tmpfs on \"/bin\"): fspick", func(s *specs.Spec) {
			s.Mounts = []specs.Mount{{Destination: "/bin", Type: "tmpfs", Options: []string{"remount", "size=1m"}}}
		}},
		{"linux.resources", func(s *specs.Spec) { s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: new(int64(1))} }}, // refused, or deadly
		{"linux.devices[0]: major, minor: -1:3", func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Major: -1, Minor: 3}}
		}},
		{"linux.resources: devices: devices[0]: -5:-1", func(s *specs.Spec) {
			major := int64(-5)
			s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Type: "c", Major: &major}}
		}},
		{"process.apparmorProfile", func(s *specs.Spec) { s.Process.ApparmorProfile = "x" }},
		{"linux.seccomp.syscalls[0]", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: "x"}}}
		}},
	} {
		b := newBox(t, "true")
		tc.edit(b.spec)
		if err := b.create(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %q", err, tc.want)
		}
		if _, err := os.Lstat(b.opts.StateDir + "/" + b.opts.ID); err == nil {
			t.Errorf("%s: state directory is left", tc.want)
		}
	}
}

func newTime(s *specs.Spec, o specs.LinuxTimeOffset) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": o}
}

// TestLabelWithoutSELinux: options of a mount that ask for a label are refused where nothing would keep to it, by name.
func TestLabelWithoutSELinux(t *testing.T) {
	if hasSELinux() {
		t.Skip("this kernel has SELinux")
	}
	b := newBox(t, "true")
	b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{`context="system_u:object_r:x_t:s0:c1,c2"`}})
	want := fmt.Sprintf(`mounts[%d].options: "context=system_u:object_r:x_t:s0:c1,c2" asked for, but this kernel has no SELinux`, len(b.spec.Mounts)-1)
	if err := b.create(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestNoAgent: where nobody answers at listenerPath nothing of the container is executed, and it can be started later.
func TestNoAgent(t *testing.T) {
	b := newBox(t, "echo ran")
	b.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: t.TempDir() + "/agent",
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}}
	must(t, b.create())
	if err := b.c.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "linux.seccomp.listenerPath: failed to connect with seccomp agent") {
		t.Errorf("start without an agent: %v", err)
	}
	if st, err := b.c.Status(); err != nil || st != specs.StateCreated {
		t.Errorf("status %s, %v", st, err)
	}
	agent, err := net.Listen("unix", b.spec.Linux.Seccomp.ListenerPath)
	must(t, err)
	defer agent.Close()
	must(t, b.c.Start(context.Background()))
	if st, err := b.c.Init.Wait(); err != nil || st.Code != 0 {
		t.Errorf("exit: %+v, %v", st, err)
	}
	if out := b.output(); out != "ran" {
		t.Errorf("printed %q", out)
	}
}
