// Package vm runs skiff where most of its users run it: on a stock Debian
// kernel with cgroup v2 only. It boots one in software emulation and runs the
// kernel's tests and a pod's whole life in it. Run it by `make test-vm`.
package vm

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.skiff.dev/skiff/test/e2e/cluster"
	"go.skiff.dev/skiff/test/vm/emulator"
	"go.skiff.dev/skiff/test/vm/plan"
)

// drivers are the modules without which the machine has no disk and no network.
var drivers = []string{"virtio_pci", "virtio_blk", "virtio_net", "virtio_rng"}

// needed are the modules that skiff uses. A distribution's kernel loads them
// when they are first asked for, by a modprobe that this machine does not have.
var needed = []string{
	"overlay", "veth", "bridge", "br_netfilter", "vxlan",
	"nf_tables", "nf_conntrack", "nf_conntrack_netlink", "nft_chain_nat", "nft_nat", "nft_masq", "nft_redir", "nft_ct",
	"nft_reject_inet", "nft_reject_ipv4", "nft_reject_ipv6", "nft_numgen", "nft_hash", "nft_fib_inet", "nft_limit", "nft_log", "nft_objref",
}

// These limits are for what hangs. How long a step takes depends on what else the host does: each of them ends in a
// few minutes where nothing else runs.
const (
	stepLimit    = 20 * time.Minute
	machineLimit = 40 * time.Minute
)

// wanted skips the test unless it was asked for: it takes minutes.
func wanted(t *testing.T) {
	t.Helper()
	if os.Getenv("SKIFF_TEST_VM") == "" {
		t.Skip("boots a virtual machine in software emulation, which takes minutes; run `make test-vm`")
	}
	for _, program := range []string{"qemu-system-x86_64", "mke2fs", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v; apt-get install qemu-system-x86 e2fsprogs dpkg busybox-static", err)
		}
	}
}

// machine prepares a machine with these modules; its disk holds busybox.
func machine(t *testing.T, modules []string) emulator.Machine {
	t.Helper()
	kernel, err := emulator.FetchKernel()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	disk, err := emulator.NewDisk(filepath.Join(dir, "root"))
	if err != nil {
		t.Fatal(err)
	}
	guest := filepath.Join(dir, "guest")
	build(t, "build", "-o", guest, "./test/vm/guest")
	return emulator.Machine{Kernel: kernel, Init: guest, Modules: append(drivers, modules...), Disk: disk, Dir: dir}
}

// build runs the go command in the repository's root.
func build(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = cluster.Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// run boots the machine and tells its steps as subtests, while they end.
func run(t *testing.T, m emulator.Machine, limit time.Duration, check func(*testing.T, emulator.Result)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := m.Run(ctx, writer)
		ended <- err
		_ = writer.Close()
	}()
	report := emulator.Report{
		Steps: m.Steps,
		Note:  func(text string) { t.Log(text) },
		Result: func(r emulator.Result) {
			t.Run(r.Step.Name, func(t *testing.T) { check(t, r) })
		},
	}
	if err := report.Read(reader); err != nil {
		t.Error(err)
		_ = reader.CloseWithError(err)
		cancel()
	}
	if err := <-ended; err != nil {
		console, _ := os.ReadFile(m.Console())
		t.Errorf("%v\nthe kernel's last words:\n%s", err, last(string(console), 8<<10))
	}
}

func last(text string, n int) string { return text[max(0, len(text)-n):] }

// tell fails the test if the step failed.
func tell(t *testing.T, r emulator.Result) {
	t.Helper()
	t.Logf("took %s in the machine", r.Took.Round(time.Millisecond))
	if r.Step.Test && r.Output != "" {
		tellTests(t, r.Output)
	} else {
		t.Log(r.Output)
	}
	switch {
	case !r.Ended:
		t.Error("did not end")
	case r.Code != 0:
		t.Errorf("ended with %d", r.Code)
	}
}

// suites are the tests at the kernel's edge.
var suites = []suite{
	{path: "internal/kernel/cgroup"},
	{path: "internal/kernel/mount"},
	{path: "internal/kernel/rootfd"},
	{path: "internal/kernel/seccomp"},
	{
		path: "internal/oci", skip: "TestOutput|TestWorkingDirectoryThroughDescriptor|TestBornInCgroups/little_CPU",
		because: "a thousand processes, and a twentieth of an emulated processor",
	},
	{
		path:    "internal/supervisor",
		run:     "OwnCgroup|RunsLogs|SignalsExec|ExecOnATerminal|AttachSees|FailedStart|KilledSupervisorLosesNothing|Renew|UpgradeKeeps",
		because: "logs, clients and endurance are the same on any kernel",
	},
	{
		path: "internal/container",
		run: "PodLife|Update|Stats|Metrics|OutOfMemory|Namespaces|SharedProcess|Zombies|KilledSkiff|Confined|Capabilities|Privileged|" +
			"Mounts$|Sysctls|Seccomp|UserNamespace$|ImageVolumes$|TestNative/(Merge|Users)",
		because: "what the CRI says of calls, names and streams is the same on any kernel",
	},
	{path: "internal/podnet"},
	{path: "internal/proxy"},
	{path: "internal/image/unpack"},
}

func TestKernel(t *testing.T) {
	wanted(t)
	m := machine(t, needed)
	runtime := cluster.Root() + "/bin/skiff-oci"
	put(t, m, runtime, runtime)
	for _, s := range suites {
		s.env = []string{"SKIFF_OCI=" + runtime}
		m.Steps = append(m.Steps, s.step(t, m, stepLimit))
	}
	run(t, m, machineLimit, tell)
}

// TestHybrid is the layout of WSL and of machines with an older systemd, whose
// version 2 is delegated to cgroup namespaces: nobody moves processes across
// their border from within (cgroups(7), "nsdelegate").
func TestHybrid(t *testing.T) {
	wanted(t)
	m := machine(t, needed)
	m.Hybrid = true
	runtime := cluster.Root() + "/bin/skiff-oci"
	put(t, m, runtime, runtime)
	for _, s := range []suite{{path: "internal/kernel/cgroup"}, {path: "internal/oci", run: "^Test(Life|Exec|UserNamespace|BornInCgroups)$"}} {
		s.env = []string{"SKIFF_OCI=" + runtime}
		m.Steps = append(m.Steps, s.step(t, m, 6*time.Minute))
	}
	run(t, m, 14*time.Minute, tell)
}

// TestPodLife runs skiff itself, as a user would.
func TestPodLife(t *testing.T) {
	wanted(t)
	m := machine(t, needed)
	binary, examples := cluster.Root()+"/bin/skiff", cluster.Root()+"/examples"
	put(t, m, binary, binary)
	put(t, m, examples, examples)
	s := suite{path: "test/vm/life", env: []string{"SKIFF_TEST_BINARY=" + binary}}
	m.Steps = append(m.Steps, s.step(t, m, stepLimit))
	run(t, m, machineLimit, tell)
}

// TestMissingFeatures starts skiff on a kernel that lacks what it needs and
// gives it one thing after another: each time it says what it misses and the
// way out, and leaves nothing.
func TestMissingFeatures(t *testing.T) {
	wanted(t)
	m := machine(t, nil)
	binary := cluster.Root() + "/bin/skiff"
	put(t, m, binary, "/bin/skiff")
	want := map[string][]string{}
	for _, s := range []struct {
		name    string
		modules []string
		want    []string
	}{
		{"without overlayfs", nil, []string{"lacks overlayfs", "`modprobe overlay`", "up ended with 1"}},
		{"without nftables", []string{"overlay", "bridge"}, []string{"modprobe -a veth nf_tables", "up ended with 1"}},
		{"without NAT", []string{"nf_tables", "nft_ct", "nft_fib_inet"}, []string{"modprobe -a veth", "nft_chain_nat", "up ended with 1"}},
		{"with everything", needed, []string{"is Ready", "up ended with 0"}},
	} {
		want[s.name] = append(s.want, "down ended with 0")
		m.Steps = append(m.Steps, plan.Step{Name: s.name, Modules: s.modules, Limit: stepLimit, Args: []string{"sh", "-c",
			"skiff up --detach; echo up ended with $?; skiff down --purge; echo down ended with $?; ! ls -d /var/lib/skiff* /run/skiff* /sys/fs/cgroup/skiff*"}})
	}
	run(t, m, machineLimit, func(t *testing.T, r emulator.Result) {
		tell(t, r)
		for _, w := range want[r.Step.Name] {
			if !strings.Contains(r.Output, w) {
				t.Errorf("skiff did not say %q", w)
			}
		}
	})
}
