package container

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestNothingIsDropped refuses what a container asks for and would not get.
func TestNothingIsDropped(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	other, otherConfig := n.sandbox("other", nil)
	stranger := n.run(other, otherConfig, "app", nil, "sleep", "1000")
	ended := n.run(box, config, "ended", nil, "true")
	n.wait(ended)
	running := n.run(box, config, "running", nil, "sleep", "1000")
	target := func(id string) func(*runtimeapi.ContainerConfig) {
		return func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: id}
		}
	}
	device := func(host, permissions string) func(*runtimeapi.ContainerConfig) {
		return func(c *runtimeapi.ContainerConfig) {
			c.Devices = []*runtimeapi.Device{{HostPath: host, ContainerPath: "/dev/x", Permissions: permissions}}
		}
	}
	mode := func(change func(*runtimeapi.NamespaceOption)) func(*runtimeapi.ContainerConfig) {
		return func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
			change(c.Linux.SecurityContext.NamespaceOptions)
		}
	}
	for words, change := range map[string]func(*runtimeapi.ContainerConfig){
		"CDI":                       func(c *runtimeapi.ContainerConfig) { c.CDIDevices = []*runtimeapi.CDIDevice{{Name: "vendor.com/x=y"}} },
		"target_id":                 target(""),
		"not found":                 target("nobody"),
		"another sandbox":           target(stranger),
		"is not running":            target(ended),
		`permissions "rx"`:          device("/dev/null", "rx"),
		`permissions ""`:            device("/dev/null", ""),
		`device "/dev/nothing"`:     device("/dev/nothing", "rwm"),
		"is no device":              device("/etc/passwd", "rwm"),
		"does not allow privileged": func(c *runtimeapi.ContainerConfig) { c.Linux.SecurityContext.Privileged = true },
		"neither Merge nor Strict":  func(c *runtimeapi.ContainerConfig) { c.Linux.SecurityContext.SupplementalGroupsPolicy = 7 },
		"propagation 9": func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{HostPath: "/tmp", ContainerPath: "/x", Propagation: 9}}
		},
		"namespace_options.pid":     mode(func(o *runtimeapi.NamespaceOption) { o.Pid = 9 }),
		"namespace_options.network": mode(func(o *runtimeapi.NamespaceOption) { o.Network = runtimeapi.NamespaceMode_NODE }),
		"namespace_options.ipc":     mode(func(o *runtimeapi.NamespaceOption) { o.Ipc = runtimeapi.NamespaceMode_TARGET }),
		"has no name": func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.Apparmor = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost}
		},
		"must be named": func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.Capabilities = &runtimeapi.Capability{AddAmbientCapabilities: []string{"ALL"}}
		},
		"loading seccomp profile": func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: "/no/such/profile"}
		},
	} {
		if _, err := n.create(box, config, "app", change, "true"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	debug := n.run(box, config, "debug", target(running), "sleep", "2000")
	if out, _ := n.exec(debug, "ps"); !strings.Contains(out, "sleep 1000") {
		t.Errorf("the target's processes are not seen:\n%s", out)
	}
}

// TestAmbientCapabilities gives a capability to a user that is not root.
func TestAmbientCapabilities(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1000}
		c.Linux.SecurityContext.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddAmbientCapabilities: []string{"NET_BIND_SERVICE"}}
	}, "sleep", "1000")
	out, _ := n.exec(id, "grep", "Cap", "/proc/self/status")
	for line := range strings.SplitSeq(strings.TrimSpace(out), "\n") {
		if f := strings.Fields(line); f[1] != "0000000000000400" {
			t.Errorf("%s", line)
		}
	}
}

// TestUpdateIsWhole changes two limits, of which the kernel refuses one.
func TestUpdateIsWhole(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Linux.Resources = &runtimeapi.LinuxContainerResources{CpuShares: 256, CpuPeriod: 100000, CpuQuota: 50000}
	}, "sleep", "1000")
	// Version 2 has weights, which give shares back only roughly.
	before, ok := cgroupStats(n.record(id).CgroupPath)
	if !ok || before.CPUQuota != 50000 {
		t.Fatalf("%+v before", before)
	}
	_, err := n.s.UpdateContainerResources(n.ctx(), &runtimeapi.UpdateContainerResourcesRequest{
		ContainerId: id, Linux: &runtimeapi.LinuxContainerResources{CpuShares: 512, CpuQuota: 20000, CpusetCpus: "4000-5000"},
	})
	if err == nil {
		t.Fatal("CPUs that the node does not have were given")
	}
	st, ok := cgroupStats(n.record(id).CgroupPath)
	if !ok || st.CPUShares != before.CPUShares || st.CPUQuota != before.CPUQuota {
		t.Errorf("shares %d, quota %d after an update that failed", st.CPUShares, st.CPUQuota)
	}
	if r := n.status(id).GetResources().GetLinux(); r.GetCpuShares() != 256 || r.GetCpusetCpus() != "" {
		t.Errorf("%v", r)
	}
}

// TestUpdateOfUnlimitedIsWhole limits what had no limits, and cannot write that down: there are none again.
func TestUpdateOfUnlimitedIsWhole(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sleep", "1000")
	before, ok := cgroupStats(n.record(id).CgroupPath)
	if !ok {
		t.Fatal("no cgroup")
	}
	update := func() error {
		_, err := n.s.UpdateContainerResources(n.ctx(), &runtimeapi.UpdateContainerResourcesRequest{
			ContainerId: id, Linux: &runtimeapi.LinuxContainerResources{CpuShares: 512, CpuQuota: 20000, CpuPeriod: 50000, MemoryLimitInBytes: 64 << 20},
		})
		return err
	}
	dir := n.s.containerDir(id)
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
		if err := unix.Mount(dir, dir, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	if err := update(); err == nil {
		t.Fatal("written down on a read-only mount")
	}
	after, ok := cgroupStats(n.record(id).CgroupPath)
	if !ok || after.CPUShares != before.CPUShares || after.CPUQuota != before.CPUQuota || after.CPUPeriod != before.CPUPeriod || after.MemoryLimit != before.MemoryLimit {
		t.Errorf("%+v, before %+v", after, before)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := update(); err != nil {
		t.Fatal(err)
	}
	if after, ok = cgroupStats(n.record(id).CgroupPath); !ok || after.CPUQuota != 20000 || after.MemoryLimit != 64<<20 {
		t.Errorf("%+v", after)
	}
}

// TestUpdateOfASandbox keeps what the node agent tells of the pod's limits.
func TestUpdateOfASandbox(t *testing.T) {
	n := newNode(t)
	box, _ := n.sandbox("pod", nil)
	req := &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: box, Resources: &runtimeapi.LinuxContainerResources{CpuShares: 512}}
	if _, err := n.s.UpdatePodSandboxResources(n.ctx(), req); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n.start()
	st, err := n.s.PodSandboxStatus(n.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box, Verbose: true})
	if err != nil || !strings.Contains(st.GetInfo()["info"], `"cpu_shares":512`) {
		t.Errorf("%v, %v", st.GetInfo(), err)
	}
	req.PodSandboxId = "none"
	if _, err := n.s.UpdatePodSandboxResources(n.ctx(), req); status.Code(err) != codes.NotFound {
		t.Errorf("a sandbox that is not there: %v", err)
	}
}

func TestStopSignalInStatus(t *testing.T) {
	for text, want := range map[string]runtimeapi.Signal{
		"": runtimeapi.Signal_SIGTERM, "SIGQUIT": runtimeapi.Signal_SIGQUIT, "quit": runtimeapi.Signal_SIGQUIT, "9": runtimeapi.Signal_SIGKILL,
		"SIGRTMIN+3": runtimeapi.Signal_SIGRTMINPLUS3, "SIGRTMAX-2": runtimeapi.Signal_SIGRTMAXMINUS2, "37": runtimeapi.Signal_SIGRTMINPLUS3,
		"SIGRTMIN": runtimeapi.Signal_SIGRTMIN, "SIGRTMAX": runtimeapi.Signal_SIGRTMAX, "nonsense": runtimeapi.Signal_SIGTERM,
	} {
		if got := signalEnum(text); got != want {
			t.Errorf("%q is %s, not %s", text, got, want)
		}
	}
}

// TestEventsOfAClientThatDoesNotRead keeps no more than it has to.
func TestEventsOfAClientThatDoesNotRead(t *testing.T) {
	var h hub
	bounded, leave := h.subscribe(3)
	defer leave()
	all, leaveToo := h.subscribe(0)
	defer leaveToo()
	for range 5 {
		h.send(&runtimeapi.ContainerEventResponse{})
	}
	if got, lost := bounded.take(); len(got) != 0 || !lost {
		t.Errorf("%d events, lost: %v", len(got), lost)
	}
	if got, lost := all.take(); len(got) != 5 || lost {
		t.Errorf("%d events, lost: %v", len(got), lost)
	}
}

// TestRemoveImageByOneName removes the image, whichever of its names is given.
func TestRemoveImageByOneName(t *testing.T) {
	n := newNode(t)
	n.importImage("two:1", imageSpec{Cmd: []string{"x"}})
	n.importImage("two:2", imageSpec{Cmd: []string{"x"}})
	if _, err := n.s.RemoveImage(n.ctx(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: "two:1"}}); err != nil {
		t.Fatal(err)
	}
	st, err := n.s.ImageStatus(n.ctx(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: "two:2"}})
	if err != nil || st.GetImage() != nil {
		t.Errorf("%v, %v", st, err)
	}
}

// TestStatsOnTheNodesNetwork tells no traffic of the node's as the pod's.
func TestStatsOnTheNodesNetwork(t *testing.T) {
	n := newNode(t)
	box, _ := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_NODE
	})
	st, err := n.s.PodSandboxStats(n.ctx(), &runtimeapi.PodSandboxStatsRequest{PodSandboxId: box})
	if err != nil || st.GetStats().GetLinux().GetNetwork() != nil {
		t.Errorf("%v, %v", st, err)
	}
}

// TestFaultsOfASandbox tells the caller's faults as such.
func TestFaultsOfASandbox(t *testing.T) {
	n := newNode(t)
	modeOf := func(change func(*runtimeapi.NamespaceOption)) func(*runtimeapi.PodSandboxConfig) {
		return func(c *runtimeapi.PodSandboxConfig) {
			o := &runtimeapi.NamespaceOption{}
			change(o)
			c.Linux = &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: o}}
		}
	}
	for words, change := range map[string]func(*runtimeapi.PodSandboxConfig){
		"contains a line break":     func(c *runtimeapi.PodSandboxConfig) { c.DnsConfig.Servers = []string{"10.0.0.1\nsearch x"} },
		"metadata":                  func(c *runtimeapi.PodSandboxConfig) { c.Metadata = nil },
		"hostname":                  func(c *runtimeapi.PodSandboxConfig) { c.Hostname = "a\n10.0.0.1 b" },
		"log_directory":             func(c *runtimeapi.PodSandboxConfig) { c.LogDirectory = "logs" },
		"namespace_options.pid":     modeOf(func(o *runtimeapi.NamespaceOption) { o.Pid = runtimeapi.NamespaceMode_TARGET }),
		"namespace_options.network": modeOf(func(o *runtimeapi.NamespaceOption) { o.Network = runtimeapi.NamespaceMode_CONTAINER }),
		"namespace_options.ipc":     modeOf(func(o *runtimeapi.NamespaceOption) { o.Ipc = 9 }),
	} {
		config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "bad"}, DnsConfig: &runtimeapi.DNSConfig{}}
		change(config)
		if _, err := n.s.RunPodSandbox(n.ctx(), &runtimeapi.RunPodSandboxRequest{Config: config}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	for _, bad := range []*runtimeapi.PortMapping{{HostPort: 70000, ContainerPort: 80}, {HostPort: 80, ContainerPort: 0}, {HostPort: 80, ContainerPort: 80, HostIp: "here"}} {
		if _, err := portMappings([]*runtimeapi.PortMapping{bad}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
