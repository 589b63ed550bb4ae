package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestListsAndFilters(t *testing.T) {
	n := newNode(t)
	a, ca := n.sandbox("a", nil)
	b, cb := n.sandbox("b", nil)
	one := n.run(a, ca, "one", nil, "sleep", "1000")
	two := n.run(b, cb, "two", nil, "true")
	n.wait(two)
	boxes := func(f *runtimeapi.PodSandboxFilter) int {
		r, err := n.s.ListPodSandbox(n.ctx(), &runtimeapi.ListPodSandboxRequest{Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		return len(r.Items)
	}
	ctrs := func(f *runtimeapi.ContainerFilter) int {
		r, err := n.s.ListContainers(n.ctx(), &runtimeapi.ListContainersRequest{Filter: f})
		if err != nil {
			t.Fatal(err)
		}
		return len(r.Containers)
	}
	state := func(s runtimeapi.ContainerState) *runtimeapi.ContainerStateValue {
		return &runtimeapi.ContainerStateValue{State: s}
	}
	for what, c := range map[string][2]int{
		"all sandboxes":            {boxes(nil), 2},
		"by short id":              {boxes(&runtimeapi.PodSandboxFilter{Id: a[:12]}), 1},
		"by label":                 {boxes(&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"app": "b"}}), 1},
		"not ready":                {boxes(&runtimeapi.PodSandboxFilter{State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY}}), 0},
		"all containers":           {ctrs(nil), 2},
		"of a sandbox":             {ctrs(&runtimeapi.ContainerFilter{PodSandboxId: a}), 1},
		"running":                  {ctrs(&runtimeapi.ContainerFilter{State: state(runtimeapi.ContainerState_CONTAINER_RUNNING)}), 1},
		"exited, by label":         {ctrs(&runtimeapi.ContainerFilter{State: state(runtimeapi.ContainerState_CONTAINER_EXITED), LabelSelector: map[string]string{"name": "two"}}), 1},
		"by a label that none has": {ctrs(&runtimeapi.ContainerFilter{LabelSelector: map[string]string{"none": ""}}), 0},
		"boxes by such a label":    {boxes(&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"none": ""}}), 0},
		"id of no one":             {ctrs(&runtimeapi.ContainerFilter{Id: "zz"}), 0},
		"id and other's box":       {ctrs(&runtimeapi.ContainerFilter{Id: one, PodSandboxId: b}), 0},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, want %d", what, c[0], c[1])
		}
	}
	if st := n.status(one[:10]); st.Id != one {
		t.Errorf("short id: %v", st)
	}
}

func TestCallsAreIdempotent(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sleep", "1000")
	if _, err := n.s.RunPodSandbox(n.ctx(), &runtimeapi.RunPodSandboxRequest{Config: config}); status.Code(err) != codes.AlreadyExists {
		t.Errorf("same sandbox again: %v", err)
	}
	if _, err := n.create(box, config, "app", nil, "true"); status.Code(err) != codes.AlreadyExists {
		t.Errorf("same container again: %v", err)
	}
	if _, err := n.s.StartContainer(n.ctx(), &runtimeapi.StartContainerRequest{ContainerId: id}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("second start: %v", err)
	}
	for range 2 {
		if _, err := n.s.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if _, err := n.s.RemoveContainer(n.ctx(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		if _, err := n.s.StopPodSandbox(n.ctx(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: box}); err != nil {
			t.Error(err)
		}
	}
	if _, err := n.create(box, config, "late", nil, "true"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("container in a stopped sandbox: %v", err)
	}
	for range 2 {
		if _, err := n.s.RemovePodSandbox(n.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: box}); err != nil {
			t.Error(err)
		}
	}
	for what, err := range map[string]error{
		"sandbox": second(n.s.PodSandboxStatus(n.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box})),
		"status":  second(n.s.ContainerStatus(n.ctx(), &runtimeapi.ContainerStatusRequest{ContainerId: id})),
		"exec":    second(n.s.ExecSync(n.ctx(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"true"}})),
		"start":   second(n.s.StartContainer(n.ctx(), &runtimeapi.StartContainerRequest{ContainerId: id})),
		"stats":   second(n.s.ContainerStats(n.ctx(), &runtimeapi.ContainerStatsRequest{ContainerId: id})),
	} {
		if status.Code(err) != codes.NotFound {
			t.Errorf("%s of what is gone: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestEventsTellALife(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(n.ctx())
	defer cancel()
	events := n.s.Events(ctx)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sh", "-c", "exit 3")
	next := func() *runtimeapi.ContainerEventResponse {
		select {
		case e := <-events:
			return e
		case <-time.After(time.Minute):
			t.Fatal("no event")
			return nil
		}
	}
	want := []string{box + " CREATED", box + " STARTED", id + " CREATED", id + " STARTED", id + " STOPPED"}
	for _, w := range want {
		e := next()
		got := e.ContainerId + " " + strings.TrimSuffix(strings.TrimPrefix(e.ContainerEventType.String(), "CONTAINER_"), "_EVENT")
		if got != w || e.PodSandboxStatus.GetId() != box {
			t.Errorf("event %s, want %s", got, w)
		}
		if strings.HasSuffix(w, "STOPPED") && (len(e.ContainersStatuses) != 1 || e.ContainersStatuses[0].ExitCode != 3) {
			t.Errorf("statuses %v", e.ContainersStatuses)
		}
	}
}

func TestImages(t *testing.T) {
	n := newNode(t)
	n.importImage("other:1", imageSpec{User: "1000:1000", Cmd: []string{"x"}})
	st, err := n.s.ImageStatus(n.ctx(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: "other:1"}, Verbose: true})
	if err != nil || st.Image.GetUid().GetValue() != 1000 || len(st.Image.RepoTags) != 1 || st.Image.Size == 0 {
		t.Errorf("%v, %v", st, err)
	}
	if st, err := n.s.ImageStatus(n.ctx(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: "none:1"}}); err != nil || st.Image != nil {
		t.Errorf("missing image: %v, %v", st, err)
	}
	all, err := n.s.ListImages(n.ctx(), &runtimeapi.ListImagesRequest{})
	if err != nil || len(all.Images) != 2 {
		t.Errorf("%v, %v", all, err)
	}
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) { c.Image.Image = "other:1" }, "sleep", "1000")
	remove := func() error {
		_, err := n.s.RemoveImage(n.ctx(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: "other:1"}})
		return err
	}
	if err := remove(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("removing a used image: %v", err)
	}
	if _, err := n.s.RemoveContainer(n.ctx(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}
	fs, err := n.s.ImageFsInfo(n.ctx(), &runtimeapi.ImageFsInfoRequest{})
	if err != nil || fs.ImageFilesystems[0].UsedBytes.Value == 0 {
		t.Errorf("%v, %v", fs, err)
	}
}

func TestStatsAndUpdate(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) { c.Linux.CgroupParent = n.cgroup + "/pod" })
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuQuota: 50000, CpuPeriod: 100000}
	}, "sleep", "1000")
	st, err := n.s.ContainerStats(n.ctx(), &runtimeapi.ContainerStatsRequest{ContainerId: id})
	if err != nil || st.Stats.Memory.GetUsageBytes().GetValue() == 0 || st.Stats.Cpu.GetUsageCoreNanoSeconds().GetValue() == 0 || st.Stats.WritableLayer == nil {
		t.Errorf("%v, %v", st, err)
	}
	pod, err := n.s.PodSandboxStats(n.ctx(), &runtimeapi.PodSandboxStatsRequest{PodSandboxId: box})
	if err != nil || len(pod.Stats.Linux.Containers) != 1 || pod.Stats.Linux.Process.GetProcessCount().GetValue() < 2 {
		t.Errorf("%v, %v", pod, err)
	}
	_, err = n.s.UpdateContainerResources(n.ctx(), &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 32 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	got := n.status(id).Resources.Linux
	if got.MemoryLimitInBytes != 32<<20 || got.CpuQuota != 50000 {
		t.Errorf("resources %v", got)
	}
	stats, ok := cgroupStats(n.s.containers[id].rec.Load().CgroupPath)
	if !ok || stats.MemoryLimit != 32<<20 {
		t.Errorf("limit in the kernel: %d", stats.MemoryLimit)
	}
}

func TestVerboseStatusHasWhatAnatomyReads(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sleep", "1000")
	c, err := n.s.ContainerStatus(n.ctx(), &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.s.PodSandboxStatus(n.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	network, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", n.record(id).PID))
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range []string{c.Info["info"], p.Info["info"]} {
		var got struct {
			PID         int
			CgroupPath  string
			RuntimeSpec specs.Spec
			Snapshot    struct{ Lower []string }
		}
		if err := json.Unmarshal([]byte(info), &got); err != nil || got.PID == 0 || !strings.HasPrefix(got.CgroupPath, n.cgroup) {
			t.Errorf("info %q: %v", info, err)
		}
		// Where people look for a pod's network.
		at := slices.IndexFunc(got.RuntimeSpec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.NetworkNamespace })
		if at < 0 {
			t.Fatalf("no network namespace in %s", info)
		}
		if seen, err := os.Readlink(got.RuntimeSpec.Linux.Namespaces[at].Path); err != nil || seen != network {
			t.Errorf("network %s, %v; the container's is %s", seen, err, network)
		}
		// The root is what the kernel says that it is made of.
		mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", n.record(id).PID))
		for _, dir := range got.Snapshot.Lower {
			if os.Getenv(nativeDir) == "" && !strings.Contains(string(mounts), dir) {
				t.Errorf("%s is not in the container's root:\n%s", dir, mounts)
			}
		}
	}
}

// network is a seam that fails or gives fixed answers: what a sandbox does
// with its network is tested here, the network itself in package podnet.
type network struct {
	fail     error
	attached map[string]bool
	live     []string
}

func (w *network) Attach(_ context.Context, id string, netns *os.File, _ NetworkOptions) (Attachment, error) {
	if w.fail != nil {
		return Attachment{}, w.fail
	}
	w.attached[id] = true
	return Attachment{IPs: []netip.Addr{netip.MustParseAddr("10.9.8.7"), netip.MustParseAddr("fd00::7")}, HostInterface: "veth9"}, nil
}

func (w *network) Detach(_ context.Context, id string) error { delete(w.attached, id); return nil }

func (w *network) Recover(_ context.Context, ids []string) error { w.live = ids; return nil }

func TestSandboxAndItsNetwork(t *testing.T) {
	n := newNode(t)
	w := &network{attached: map[string]bool{}}
	n.s.deps.Network, n.deps.Network = w, w
	box, config := n.sandbox("pod", nil)
	st, err := n.s.PodSandboxStatus(n.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box})
	if err != nil || st.Status.Network.Ip != "10.9.8.7" || st.Status.Network.AdditionalIps[0].Ip != "fd00::7" {
		t.Errorf("%v, %v", st, err)
	}
	id := n.run(box, config, "app", nil, "cat", "/etc/hosts")
	n.wait(id)
	if !strings.Contains(n.log(id), "10.9.8.7\tpod\n") {
		t.Errorf("hosts: %s", n.log(id))
	}
	n.stop()
	n.start()
	if fmt.Sprint(w.live) != fmt.Sprint([]string{box}) {
		t.Errorf("live sandboxes %v", w.live)
	}
	w.fail = errors.New("no address left")
	_, err = n.s.RunPodSandbox(n.ctx(), &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "x"}}})
	if err == nil || !strings.Contains(err.Error(), "no address left") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(n.s.sandboxesDir()); len(left) != 1 {
		t.Errorf("a failed sandbox left its directory: %v", left)
	}
	if list, _ := n.s.sup.List(n.ctx()); len(list) != 1 {
		t.Errorf("a failed sandbox left its pause: %v", list)
	}
	if _, err := n.s.StopPodSandbox(n.ctx(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: box}); err != nil || len(w.attached) != 0 {
		t.Errorf("after stop: %v, %v", w.attached, err)
	}
}

func TestDamagedRecordStopsNothing(t *testing.T) {
	n := newNode(t)
	good, config := n.sandbox("good", nil)
	bad, badConfig := n.sandbox("bad", nil)
	id := n.run(good, config, "app", nil, "sleep", "1000")
	n.run(bad, badConfig, "app", nil, "sleep", "1000")
	n.stop()
	if err := os.WriteFile(filepath.Join(n.s.sandboxDir(bad), "record.json"), []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	if st := n.status(id); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("status %v", st)
	}
	if list, _ := n.s.sup.List(n.ctx()); len(list) != 2 {
		t.Errorf("the containers of the damaged sandbox still run: %v", list)
	}
}

func TestHostNamespaces(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) {
		c.Hostname = ""
		c.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{
			Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE,
		}
	})
	id := n.run(box, config, "app", nil, "sleep", "1000")
	for _, kind := range []string{"net", "uts", "ipc", "pid"} {
		want, _ := os.Readlink("/proc/self/ns/" + kind)
		if got, _ := n.exec(id, "readlink", "/proc/self/ns/"+kind); got != want+"\n" {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
	if _, err := n.s.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 5}); err != nil {
		t.Error(err)
	}
}

func TestEphemeralContainerSeesItsTarget(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	target := n.run(box, config, "app", nil, "sleep", "4321")
	id := n.run(box, config, "debug", func(c *runtimeapi.ContainerConfig) {
		c.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: target}
	}, "ps")
	n.wait(id)
	if !strings.Contains(n.log(id), "sleep 4321") {
		t.Errorf("ps: %s", n.log(id))
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	blocked := filepath.Join(n.dir, "file")
	if err := os.WriteFile(blocked, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*runtimeapi.ContainerConfig){
		"image": func(c *runtimeapi.ContainerConfig) { c.Image.Image = "none:1" },
		"user":  func(c *runtimeapi.ContainerConfig) { c.Linux.SecurityContext.RunAsUsername = "nobody-here" },
		"source": func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{HostPath: blocked + "/below", ContainerPath: "/x"}}
		},
		"capability": func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.Capabilities = &runtimeapi.Capability{AddCapabilities: []string{"NONE"}}
		},
		"seccomp": func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost}
		},
		"device": func(c *runtimeapi.ContainerConfig) {
			c.Devices = []*runtimeapi.Device{{HostPath: "/dev/none", ContainerPath: "/dev/none"}}
		},
	} {
		if _, err := n.create(box, config, "app", change, "true"); err == nil {
			t.Errorf("%s: no error", name)
		}
		if left, _ := os.ReadDir(n.s.containersDir()); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	if err := n.images.Remove("busybox:1"); err != nil {
		t.Errorf("a lease was left: %v", err)
	}
	n.importImage("busybox:1", imageSpec{})
	// The name is free again, and a start that fails leaves no process or cgroup.
	id, err := n.create(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Mounts = []*runtimeapi.Mount{{HostPath: blocked, ContainerPath: "/proc/self/x"}}
	}, "true")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.s.StartContainer(n.ctx(), &runtimeapi.StartContainerRequest{ContainerId: id}); err == nil {
		t.Error("a mount below /proc was allowed")
	}
	if list, _ := n.s.sup.List(n.ctx()); len(list) != 1 {
		t.Errorf("containers of the supervisor: %v", list)
	}
}
