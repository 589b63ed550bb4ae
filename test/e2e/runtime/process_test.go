package runtime

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/caps"
)

func TestHelpEndsWell(t *testing.T) {
	b := open(t)
	for _, verb := range []string{"create", "exec", "checkpoint", "features"} {
		if out := b.want(0, verb, "-h"); !strings.HasPrefix(out, "NAME:\n   skiff-oci "+verb) {
			t.Errorf("help of %s: %q", verb, out)
		}
	}
}

// What reads the output of a terminal in the foreground is a program, or has a terminal of its own.
func TestLinesOfTerminal(t *testing.T) {
	b := open(t)
	b.spec.Process.Terminal = true
	b.same("lines", b.run("echo one; echo two"), "one\ntwo")
}

// A created container waits for its start with nothing open but standard files, its root and its sockets.
func TestCreatedHoldsNothing(t *testing.T) {
	b := open(t)
	b.spec.Process.Args = []string{"true"}
	b.save()
	b.want(0, "create", "--pid-file", b.dir+"/pid", "held")
	pid, err := os.ReadFile(b.dir + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	fds, err := filepath.Glob("/proc/" + string(pid) + "/fd/*")
	if err != nil || len(fds) == 0 {
		t.Fatal(fds, err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if n, _ := strconv.Atoi(filepath.Base(fd)); err != nil || n > 2 && to != "/" && !strings.HasPrefix(to, "socket:") && !strings.HasPrefix(to, "anon_inode:") {
			t.Errorf("%s leads to %q (%v)", fd, to, err)
		}
	}
}

// The CPUs of the caller are not the container's; those of an exec are what it asks for, from before the cgroup on.
func TestAffinity(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil || !all.IsSet(0) || !all.IsSet(1) {
		t.Skip("needs CPUs 0 and 1")
	}
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip("needs taskset")
	}
	b := open(t)
	cpus := "grep ^Cpus_allowed: /proc/self/status"
	free := b.run(cpus)
	b.launcher = []string{"taskset", "-c", "0"}
	b.same("CPUs", b.run(cpus), free)
	b.spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "1", Final: "0"}
	b.run("sleep 1000", "-d")
	id := b.want(0, "list", "-q")
	one := b.want(0, "exec", id, "sh", "-c", cpus)
	if one == free || !strings.HasSuffix(one, "1") {
		t.Errorf("CPUs of an exec: %q, want the first alone", one)
	}
	if log, _ := b.try("--debug", "exec", id, "true"); !strings.Contains(log, "nsexec: affinity: 0x2") {
		t.Errorf("the log does not tell of the CPUs at the start: %s", log)
	}
}

// Fewer processes than init has threads: limits come when it is ready.
func TestFewPids(t *testing.T) {
	b := open(t)
	for limit, want := range map[int64]string{0: "1", 1: "1", 3: "3"} {
		b.spec.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}
		out := b.run("read x </sys/fs/cgroup/pids/pids.max 2>/dev/null || read x </sys/fs/cgroup/pids.max; echo $x")
		b.same("limit "+strconv.Itoa(int(limit)), out, want)
	}
}

// On a machine with both versions of cgroups a container is in its own on either, and so is an exec.
func TestHybridCgroup(t *testing.T) {
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup/unified", &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Skip("this machine has one version of cgroups")
	}
	b := open(t)
	b.spec.Linux.CgroupsPath = "/test-hybrid"
	b.run("sleep 1000", "-d")
	id := b.want(0, "list", "-q")
	b.same("an exec", b.want(0, "exec", id, "grep", "^0:", "/proc/self/cgroup"), "0::/test-hybrid")
	b.same("init", b.want(0, "exec", id, "grep", "^0:", "/proc/1/cgroup"), "0::/test-hybrid")
	b.want(0, "delete", "--force", id)
	if _, err := os.Lstat("/sys/fs/cgroup/unified/test-hybrid"); err == nil {
		t.Error("the version 2 cgroup was left behind")
	}
}

// The numbers of a container, as those who parse runc's expect them.
func TestStats(t *testing.T) {
	b := open(t)
	b.spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: new(int64(64 << 20))}, Pids: &specs.LinuxPids{Limit: new(int64(50))}}
	b.run("sleep 1000", "-d")
	var e struct {
		Type, ID string
		Data     struct {
			CPU struct {
				Usage struct {
					Total  uint64
					PerCPU []uint64
				}
			}
			Memory struct{ Usage, Swap struct{ Limit, Usage uint64 } }
			Pids   struct{ Current, Limit uint64 }
		}
	}
	text := b.want(0, "events", "--stats", b.id)
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	d := e.Data
	if e.Type != "stats" || e.ID != b.id || d.CPU.Usage.Total == 0 || d.Memory.Usage.Limit != 64<<20 || d.Memory.Usage.Usage == 0 || d.Pids.Current != 1 || d.Pids.Limit != 50 {
		t.Errorf("statistics: %s", text)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cpuacct"); err == nil && len(d.CPU.Usage.PerCPU) == 0 {
		t.Errorf("no CPU by itself: %s", text)
	}
	b.want(0, "delete", "--force", b.id)
	b.spec.Linux.Resources = nil
	b.run("sleep 1000", "-d")
	text = b.want(0, "events", "--stats", b.id)
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Data.Memory.Usage.Limit < 1<<62 {
		t.Errorf("without a limit: %v, %s", err, text)
	}
	b.want(0, "delete", "--force", b.id)
}

// A capability that this machine does not give is warned of, and the others are granted.
func TestCapabilityThatNobodyHas(t *testing.T) {
	b := open(t)
	all := append(caps.All(), "CAP_NOT_YET")
	b.spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	b.spec.Process.Args = []string{"grep", "^CapEff", "/proc/self/status"}
	b.save()
	have, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(have), "CapPrm:\t")
	want, _, _ := strings.Cut(line, "\n")
	out, code := b.try("run", b.id)
	if code != 0 || !strings.Contains(out, "CapEff:\t"+want) || !strings.Contains(out, "CAP_NOT_YET") {
		t.Errorf("exit code %d, %q; want %s", code, out, want)
	}
}

// A relative path of cgroups is relative to who makes the container, not to who asks for it later.
func TestRelativeCgroup(t *testing.T) {
	b := open(t)
	b.spec.Linux.CgroupsPath = "relative-" + b.id
	b.run("sleep 1000", "-d")
	dir := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(dir); err != nil {
		dir = "/sys/fs/cgroup"
	}
	other := dir + "/elsewhere-" + b.id
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(other); err != nil {
			t.Error(err)
		}
	})
	want := b.want(0, "ps", "-f", "json", b.id)
	b.launcher = []string{"sh", "-c", "echo $$ >" + other + "/cgroup.procs && exec \"$@\"", "sh"}
	b.same("processes", b.want(0, "ps", "-f", "json", b.id), want)
	b.want(0, "delete", "--force", b.id)
}
