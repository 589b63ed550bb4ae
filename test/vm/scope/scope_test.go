// Package scope has containers in cgroups that systemd makes. The virtual
// machine of test/vm runs it, with Debian's systemd as process 1.
package scope

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const unified = "/sys/fs/cgroup"

// box is a bundle and the state of its containers.
type box struct {
	t    *testing.T
	dir  string
	spec specs.Spec
}

func newBox(t *testing.T) *box {
	t.Helper()
	if comm, err := os.ReadFile("/proc/1/comm"); os.Getenv("SKIFF_OCI") == "" || err != nil || strings.TrimSpace(string(comm)) != "systemd" {
		t.Skip("needs systemd as process 1 and SKIFF_OCI: run `make test-vm`")
	}
	b := &box{t: t, dir: t.TempDir()}
	if err := os.MkdirAll(b.dir+"/rootfs/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "sleep", "cat", "true"} {
		if err := os.WriteFile(b.dir+"/rootfs/bin/"+name, busybox, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b.ok("spec", "--bundle", b.dir)
	text, err := os.ReadFile(b.dir + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &b.spec); err != nil {
		t.Fatal(err)
	}
	b.spec.Process.Terminal = false
	b.spec.Process.Args = []string{"sleep", "1000"}
	return b
}

// hybrid tells whether systemd has the controllers on version 1 of cgroups, beside an empty version 2.
func hybrid() bool {
	_, err := os.Stat(unified + "/cgroup.controllers")
	return err != nil
}

// only skips a test of the other layout.
func only(t *testing.T, layout bool) {
	t.Helper()
	if !layout {
		t.Skip("of the other layout of cgroups")
	}
}

// cgroupOf is where systemd keeps a process.
func cgroupOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	mine := "0::"
	if hybrid() {
		mine = ":name=systemd:"
	}
	for line := range strings.Lines(string(text)) {
		if _, path, ok := strings.Cut(line, mine); ok {
			return strings.TrimSpace(path)
		}
	}
	t.Fatalf("process %d is in no cgroup of systemd's: %s", pid, text)
	return ""
}

// try runs skiff-oci.
func (b *box) try(args ...string) (string, error) {
	text, err := json.Marshal(&b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.spec.Version != "" {
		if err := os.WriteFile(b.dir+"/config.json", text, 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	// A file: a pipe would stay open in a container that goes on.
	out, err := os.Create(filepath.Join(b.dir, "output"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(os.Getenv("SKIFF_OCI"), append([]string{"--root", b.dir + "/state", "--systemd-cgroup"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	said, rerr := os.ReadFile(out.Name())
	if rerr != nil {
		b.t.Fatal(rerr)
	}
	return string(said), err
}

func (b *box) ok(args ...string) string {
	b.t.Helper()
	out, err := b.try(args...)
	if err != nil {
		b.t.Fatalf("skiff-oci %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// create makes a container and has it go, whatever happens to the test.
func (b *box) create(id string) (pid int) {
	b.t.Helper()
	b.t.Cleanup(func() { _, _ = b.try("delete", "--force", id) })
	b.ok("create", "--bundle", b.dir, id)
	var state specs.State
	if err := json.Unmarshal([]byte(b.ok("state", id)), &state); err != nil {
		b.t.Fatal(err)
	}
	return state.Pid
}

// show asks systemd for properties of a unit, NAME=VALUE each.
func show(t *testing.T, unit string, names ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", unit, "--property="+strings.Join(names, ",")).CombinedOutput()
	if err != nil {
		t.Fatalf("systemctl show %s: %v\n%s", unit, err, out)
	}
	return string(out)
}

func (b *box) has(unit string, want ...string) {
	b.t.Helper()
	var names []string
	for _, w := range want {
		name, _, _ := strings.Cut(w, "=")
		names = append(names, name)
	}
	got := show(b.t, unit, names...)
	for _, w := range want {
		if !strings.Contains("\n"+got, "\n"+w+"\n") {
			b.t.Errorf("%s has not %s but\n%s", unit, w, got)
		}
	}
}

func (b *box) file(path, want string) {
	b.t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(got)) != want {
		b.t.Errorf("%s is %q, %v; want %q", path, got, err, want)
	}
}

// gone waits for systemd to have forgotten a unit.
func (b *box) gone(unit string) {
	b.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		state := show(b.t, unit, "LoadState", "ActiveState")
		if strings.Contains(state, "LoadState=not-found") && strings.Contains(state, "ActiveState=inactive") {
			return
		}
		if time.Since(began) > time.Minute {
			b.t.Fatalf("%s is still there: %s", unit, state)
		}
	}
}

func TestLife(t *testing.T) {
	b := newBox(t)
	only(t, !hybrid())
	const slice, unit = "skiff-test.slice", "ctr-life.scope"
	cgroup := unified + "/skiff.slice/" + slice + "/" + unit
	b.spec.Annotations = map[string]string{"org.systemd.property.TimeoutStopSec": "7", "org.systemd.property.CollectMode": "'inactive-or-failed'"}
	b.spec.Linux.CgroupsPath = slice + ":ctr:life"
	b.spec.Linux.Resources = &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		Memory:  &specs.LinuxMemory{Limit: new(int64(64 << 20)), Reservation: new(int64(32 << 20))},
		CPU:     &specs.LinuxCPU{Shares: new(uint64(512)), Quota: new(int64(25_500)), Period: new(uint64(100_000)), Cpus: "0"},
		Pids:    &specs.LinuxPids{Limit: new(int64(50))},
		Unified: map[string]string{"memory.high": "50331648"},
	}
	pid := b.create("life")
	b.file(fmt.Sprintf("/proc/%d/cgroup", pid), "0::/skiff.slice/"+slice+"/"+unit)
	b.has(unit, "ActiveState=active", "Slice="+slice, "Delegate=yes", "Description=container life", "DefaultDependencies=no",
		"MemoryMax=67108864", "MemoryLow=33554432", "MemoryHigh=50331648", "TasksMax=50", "CPUWeight=59", "CPUQuotaPerSecUSec=260ms",
		"AllowedCPUs=0", "DevicePolicy=strict", "TimeoutStopUSec=7s", "CollectMode=inactive-or-failed")
	limits := map[string]string{"memory.max": "67108864", "memory.low": "33554432", "memory.high": "50331648", "pids.max": "50",
		"cpu.weight": "59", "cpu.max": "25500 100000", "cpuset.cpus": "0"}
	for name, want := range limits {
		b.file(cgroup+"/"+name, want)
	}

	b.ok("start", "life")
	if out := b.ok("exec", "life", "cat", "/proc/self/cgroup"); strings.TrimSpace(out) != "0::/" {
		t.Errorf("a further process is in %q", out)
	}
	if out := b.ok("exec", "life", "sh", "-c", "echo >/dev/null && ! cat /dev/kmsg 2>&1"); strings.Contains(out, "can't create") {
		t.Errorf("devices: %s", out)
	}

	b.ok("update", "--memory", "100m", "--pids-limit", "60", "--cpu-quota", "50000", "life")
	b.has(unit, "MemoryMax=104857600", "TasksMax=60", "CPUQuotaPerSecUSec=500ms")
	// What systemd knows it writes again.
	if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	limits["memory.max"], limits["pids.max"], limits["cpu.max"] = "104857600", "60", "50000 100000"
	for name, want := range limits {
		b.file(cgroup+"/"+name, want)
	}

	b.ok("pause", "life")
	b.file(cgroup+"/cgroup.freeze", "1")
	b.ok("resume", "life")
	b.ok("delete", "--force", "life")
	b.gone(unit)
	if _, err := os.Stat(cgroup); !os.IsNotExist(err) {
		t.Errorf("the cgroup is still there: %v", err)
	}
}

// TestLifeHybrid: systemd puts the process into some hierarchies and writes some limits; all others are the runtime's.
func TestLifeHybrid(t *testing.T) {
	b := newBox(t)
	only(t, hybrid())
	const slice, unit = "skiff-test.slice", "ctr-life.scope"
	const place = "/skiff.slice/" + slice + "/" + unit
	b.spec.Linux.CgroupsPath = slice + ":ctr:life"
	b.spec.Linux.Resources = &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		Memory:  &specs.LinuxMemory{Limit: new(int64(64 << 20))},
		CPU:     &specs.LinuxCPU{Shares: new(uint64(512)), Quota: new(int64(25_500)), Period: new(uint64(100_000)), Cpus: "0"},
		Pids:    &specs.LinuxPids{Limit: new(int64(50))},
	}
	pid := b.create("life")
	if got := cgroupOf(t, pid); got != place {
		t.Errorf("systemd has it in %q, want %q", got, place)
	}
	limits := map[string]string{"memory/memory.limit_in_bytes": "67108864", "pids/pids.max": "50", "cpu/cpu.shares": "512",
		"cpu/cpu.cfs_quota_us": "25500", "cpuset/cpuset.cpus": "0", "freezer/freezer.state": "THAWED"}
	check := func() {
		t.Helper()
		for name, want := range limits {
			controller, file, _ := strings.Cut(name, "/")
			b.file(unified+"/"+controller+place+"/"+file, want)
			b.file(unified+"/"+controller+place+"/cgroup.procs", fmt.Sprint(pid))
		}
	}
	check()
	b.has(unit, "ActiveState=active", "Slice="+slice, "Delegate=yes", "MemoryLimit=67108864", "TasksMax=50", "CPUShares=512",
		"CPUQuotaPerSecUSec=260ms", "DevicePolicy=strict")

	b.ok("start", "life")
	if out := b.ok("exec", "life", "sh", "-c", "echo >/dev/null && ! cat /dev/kmsg 2>&1"); strings.Contains(out, "can't create") {
		t.Errorf("devices: %s", out)
	}
	b.ok("update", "--memory", "100m", "--pids-limit", "60", "--cpu-quota", "50000", "life")
	b.has(unit, "MemoryLimit=104857600", "TasksMax=60", "CPUQuotaPerSecUSec=500ms")
	if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	limits["memory/memory.limit_in_bytes"], limits["pids/pids.max"], limits["cpu/cpu.cfs_quota_us"] = "104857600", "60", "50000"
	check()

	b.ok("pause", "life")
	b.file(unified+"/freezer"+place+"/freezer.state", "FROZEN")
	b.ok("resume", "life")
	b.ok("delete", "--force", "life")
	b.gone(unit)
	if left, err := filepath.Glob(unified + "/*" + place); err != nil || len(left) > 0 {
		t.Errorf("cgroups are left: %v, %v", left, err)
	}
}

func TestNames(t *testing.T) {
	b := newBox(t)
	for path, want := range map[string]string{
		"":                      "/system.slice/skiff-names.scope",
		":p:n":                  "/system.slice/p-n.scope",
		"machine.slice::n2":     "/machine.slice/n2.scope",
		"-.slice:p:top":         "/p-top.scope",
		"a-b-c.slice:libpod:77": "/a.slice/a-b.slice/a-b-c.slice/libpod-77.scope",
	} {
		b.spec.Linux.CgroupsPath = path
		pid := b.create("names")
		if got := cgroupOf(t, pid); got != want {
			t.Errorf("%q is the cgroup %q, want %q", path, got, want)
		}
		b.ok("delete", "--force", "names")
		b.gone(filepath.Base(want))
	}
}

// TestRefused makes nothing of what cannot be, and leaves a unit of the same
// name alone.
func TestRefused(t *testing.T) {
	b := newBox(t)
	b.spec.Linux.CgroupsPath = ":ctr:taken"
	b.create("first")
	for _, c := range []struct{ path, annotation, value, want string }{
		{":ctr:taken", "", "", "already"},
		{"/a/path", "", "", "expected cgroupsPath to be of format"},
		{"noslice:a:b", "", "", "is not the name of a slice"},
		{":a:b.slice", "", "", "not a slice"},
		{":ctr:no", "org.systemd.property.Nonsense", "true", "Nonsense"},
		{":ctr:no", "org.systemd.property.MemoryMax", "'x'", "Failed to set unit properties"},
		{":ctr:no", "org.systemd.property.A1", "true", "is not the name of a property"},
		{":ctr:no", "org.systemd.property.TimeoutStopSec", "1 2", "follows the value"},
	} {
		b.spec.Linux.CgroupsPath, b.spec.Annotations = c.path, map[string]string{c.annotation: c.value}
		out, err := b.try("create", "--bundle", b.dir, "second")
		if err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%v: %v, %s", c, err, out)
		}
		if out, err := b.try("state", "second"); err == nil {
			t.Errorf("%v: it is there: %s", c, out)
		}
	}
	b.gone("ctr-no.scope")
	b.has("ctr-taken.scope", "ActiveState=active")
	b.ok("start", "first")
}

// TestEnd has the exit code of a program, and nothing left of it.
func TestEnd(t *testing.T) {
	b := newBox(t)
	b.spec.Linux.CgroupsPath = ":ctr:end"
	b.spec.Process.Args = []string{"sh", "-c", "exit 7"}
	_, err := b.try("run", "--bundle", b.dir, "end")
	if code, ok := errors.AsType[*exec.ExitError](err); !ok || code.ExitCode() != 7 {
		t.Errorf("it ended with %v", err)
	}
	b.gone("ctr-end.scope")
	b.spec.Process.Args = []string{"absent"}
	if out, err := b.try("run", "--bundle", b.dir, "end"); err == nil {
		t.Errorf("an absent program ran: %s", out)
	}
	b.gone("ctr-end.scope")
}

// TestPodman is Debian's podman with the cgroup manager that it has by itself.
func TestPodman(t *testing.T) {
	b := newBox(t)
	only(t, !hybrid())
	// Podman cleans up in the background, and so may still write here when the test is over. The machine's disk ends with it.
	state, err := os.MkdirTemp("", "podman")
	if err != nil {
		t.Fatal(err)
	}
	podman := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("podman", append([]string{"--runtime", os.Getenv("SKIFF_OCI"), "--cgroup-manager=systemd", "--events-backend=none",
			"--root", state + "/root", "--runroot", state + "/run", "--storage-driver=vfs"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	out := podman("run", "--rm", "--network=none", "--log-driver=none", "--cgroupns=host", "--memory=64m", "--rootfs", b.dir+"/rootfs",
		"sh", "-c", "cat /proc/self/cgroup /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup)/memory.max")
	if !strings.HasPrefix(out, "0::/machine.slice/libpod-") || !strings.HasSuffix(out, ".scope\n67108864") {
		t.Errorf("the container said %q", out)
	}
	id := podman("run", "--detach", "--network=none", "--rootfs", b.dir+"/rootfs", "sleep", "1000")
	unit := "libpod-" + id + ".scope"
	b.has(unit, "ActiveState=active", "Slice=machine.slice", "Delegate=yes")
	if out := podman("exec", id, "cat", "/proc/self/cgroup"); out != "0::/" {
		t.Errorf("a further process is in %q", out)
	}
	podman("rm", "--force", "--time=0", id)
	b.gone(unit)
}
