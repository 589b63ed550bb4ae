package runtime

import (
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestMemoryPolicy(t *testing.T) {
	if _, err := os.Stat("/proc/self/numa_maps"); err != nil {
		t.Skip("this kernel has no NUMA")
	}
	b := open(t)
	policy := "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2"
	set := func(p specs.LinuxMemoryPolicy) { b.spec.Linux.MemoryPolicy = &p }
	set(specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}})
	b.same("bound", b.run(policy), "bind=static:0")
	b.run("sleep 1000", "-d")
	id := b.want(0, "list", "-q")
	b.same("an exec", b.want(0, "exec", id, "sh", "-c", policy), "bind=static:0")
	for _, c := range []struct {
		policy specs.LinuxMemoryPolicy
		words  string
	}{
		{specs.LinuxMemoryPolicy{}, "invalid memory policy mode"},
		{specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{"x"}}, "invalid memory policy flag"},
		{specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0-9876543210"}, "invalid memory policy node"},
		{specs.LinuxMemoryPolicy{Mode: specs.MpolBind}, "requires at least one node"},
		{specs.LinuxMemoryPolicy{Mode: specs.MpolDefault, Nodes: "0-7"}, "mode requires 0 nodes but got 8"},
	} {
		b.want(0, "delete", "--force", id)
		set(c.policy)
		b.refused(c.words)
	}
}

// A place that is named twice is covered once.
func TestMaskedTwice(t *testing.T) {
	b := open(t)
	b.spec.Linux.MaskedPaths = []string{"/home", "/home/", "/etc/passwd", "/etc/passwd"}
	b.spec.Linux.ReadonlyPaths = []string{"/tmp", "/tmp"}
	b.same("mounts", b.run("for p in /home /etc/passwd /tmp; do grep -c \" $p \" /proc/self/mounts; done"), "1\n1\n1")
}

// "If a file already exists at path that does not match the requested device, the runtime MUST generate an error."
func TestDeviceInTheWay(t *testing.T) {
	b := open(t)
	if err := os.WriteFile(b.root()+"/tmp/device", []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.spec.Linux.Devices = []specs.LinuxDevice{{Path: "/tmp/device", Type: "c", Major: 1, Minor: 3}}
	b.refused("there is another file at this path")
	if text, err := os.ReadFile(b.root() + "/tmp/device"); err != nil || string(text) != "precious" {
		t.Errorf("the file is %q now (%v)", text, err)
	}
}

// startContainer hooks are the image's programs: they run with the rights of its user.
func TestStartHookHasNoMoreRights(t *testing.T) {
	b := open(t)
	b.spec.Process.User = specs.User{UID: 33, GID: 33}
	b.spec.Process.NoNewPrivileges = true
	b.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow,
		Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}}}
	b.spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh",
		Args: []string{"sh", "-c", "{ id -u; grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status; mkdir /tmp/x 2>&1 || true; } >/tmp/said"}}}}
	if err := os.Chmod(b.root()+"/tmp", 0o777); err != nil {
		t.Fatal(err)
	}
	b.same("the hook", b.run("cat /tmp/said"),
		"33\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nmkdir: can't create directory '/tmp/x': Operation not permitted")
}

// A label that the kernel cannot give is refused, not forgotten.
func TestLabelsWithoutSELinux(t *testing.T) {
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		t.Skip("this kernel has SELinux")
	}
	b := open(t)
	b.spec.Linux.MountLabel = "system_u:object_r:container_file_t:s0"
	b.refused("no SELinux")
}

// Who waits for the program hears of its end in the kernel's words.
func TestExecveFails(t *testing.T) {
	b := open(t)
	if err := os.WriteFile(b.root()+"/script", []byte("#!/no/such/interpreter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(b.root()+"/script", 0o755); err != nil {
		t.Fatal(err)
	}
	b.spec.Process.Args = []string{"/script"}
	b.save()
	b.same("run", b.want(1, "run", "broken"), "exec /script: no such file or directory")
	b.want(0, "create", "broken")
	if out := b.want(1, "start", "broken"); !strings.Contains(out, "exec /script: no such file or directory") {
		t.Errorf("start: %q", out)
	}
}
