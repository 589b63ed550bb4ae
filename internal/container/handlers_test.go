package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	remotecommandserver "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"go.skiff.dev/skiff/internal/ocibin/ocitest"
)

// crun is Debian's.
const crun = "/usr/bin/crun"

// withCrun is a sandbox whose containers crun makes.
func withCrun(t *testing.T) (n *node, box string, config *runtimeapi.PodSandboxConfig) {
	t.Helper()
	n = newNode(t)
	if _, err := os.Stat(crun); err != nil {
		t.Skip("no crun (Debian: crun)")
	}
	n.s.deps.Handlers = map[string]string{"crun": crun}
	n.deps.Handlers = n.s.deps.Handlers
	config = &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "pod", Namespace: "default", Uid: "pod-uid"}, Hostname: "pod", LogDirectory: filepath.Join(n.dir, "logs", "pod"),
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
	made, err := n.s.RunPodSandbox(n.ctx(), &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: "crun"})
	if err != nil {
		t.Fatal(err)
	}
	return n, made.GetPodSandboxId(), config
}

// TestForeignRuntime lives the life of a container that Debian's crun makes.
func TestForeignRuntime(t *testing.T) {
	n, box, config := withCrun(t)
	n.importImage("content:1", imageSpec{files: map[string]string{"data/hello": "from the image\n"}})
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/vol", Readonly: true, Image: &runtimeapi.ImageSpec{Image: "content:1"}, ImageSubPath: "data"}}
		c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20}
	}, "sh", "-c", "trap 'echo bye; exit 7' TERM; echo started; while :; do sleep 0.05; done")
	n.untilLogged(id, "started")
	if out, code := n.exec(id, "sh", "-c", "hostname; cat /vol/hello; touch /vol/x 2>/dev/null || echo refused; exit 3"); out != "pod\nfrom the image\nrefused\n" || code != 3 {
		t.Errorf("%q %d", out, code)
	}
	own, _ := os.Readlink("/proc/self/ns/net")
	if theirs, _ := n.exec(id, "readlink", "/proc/1/ns/net"); strings.TrimSpace(theirs) == own {
		t.Error("the container is in the node's network")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), id+"/rootfs") {
		t.Errorf("the root shows on the node: %v", err)
	}
	update := &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 96 << 20}}
	if _, err := n.s.UpdateContainerResources(n.ctx(), update); err != nil {
		t.Error(err)
	}
	if st, ok := cgroupStats(n.record(id).CgroupPath); !ok || st.MemoryLimit != 96<<20 {
		t.Errorf("limit %d after the update", st.MemoryLimit)
	}
	if _, err := n.s.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if st := n.wait(id); st.ExitCode != 7 || st.Reason != "Error" {
		t.Errorf("%v", st)
	}
	if got := n.log(id); got != "started\nbye\n" {
		t.Errorf("log %q", got)
	}
	if _, err := n.create(box, config, "none", nil, "/no/such/program"); err != nil {
		t.Fatal(err)
	}
}

func (n *node) record(id string) *containerRecord {
	n.t.Helper()
	c, err := n.s.findContainer(id)
	if err != nil {
		n.t.Fatal(err)
	}
	return c.rec.Load()
}

// TestForeignRuntimeTerminal runs terminals of crun's, and ends an exec whose
// caller has gone.
func TestForeignRuntimeTerminal(t *testing.T) {
	n, box, config := withCrun(t)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) { c.Tty = true }, "sh", "-c", "test -t 0 && echo terminal; exec sleep 1000")
	n.untilLogged(id, "terminal")
	sizes := make(chan remotecommandserver.TerminalSize, 1)
	sizes <- remotecommandserver.TerminalSize{Width: 100, Height: 40}
	var tty sink
	if err := n.s.Streaming().Exec(n.ctx(), id, []string{"sh", "-c", "test -t 1 && echo yes"}, nil, &tty, nil, true, sizes); err != nil {
		t.Error(err)
	}
	if tty.String() != "yes\r\n" {
		t.Errorf("terminal showed %q", tty.String())
	}
	_, err := n.s.ExecSync(n.ctx(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"sleep", "4321"}, Timeout: 1})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v", err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // nobody tells this test of the end of a process that is not its own
		out, _ := n.exec(id, "ps")
		if !strings.Contains(out, "sleep 4321") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the process of a cancelled exec goes on:\n%s", out)
		}
	}
}

// TestForeignRuntimeFaults says what is wrong.
func TestForeignRuntimeFaults(t *testing.T) {
	n, box, config := withCrun(t)
	id, err := n.create(box, config, "none", nil, "/no/such/program")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.s.StartContainer(n.ctx(), &runtimeapi.StartContainerRequest{ContainerId: id}); err == nil || !strings.Contains(err.Error(), "no/such/program") {
		t.Errorf("%v", err)
	}
	if st := n.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != startErrorCode {
		t.Errorf("%v", st)
	}
	for handler, code := range map[string]codes.Code{"nobody": codes.InvalidArgument, "gone": codes.FailedPrecondition} {
		n.s.deps.Handlers["gone"] = "/no/such/runtime"
		_, err := n.s.RunPodSandbox(n.ctx(), &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: handler}}, RuntimeHandler: handler})
		if status.Code(err) != code || !strings.Contains(err.Error(), handler) {
			t.Errorf("%s: %v", handler, err)
		}
	}
	_, err = n.create(box, config, "shared", func(c *runtimeapi.ContainerConfig) {
		c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/vol", HostPath: t.TempDir(), Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL}}
	}, "true")
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("bidirectional propagation: %v", err)
	}
	st, err := n.s.Status(n.ctx(), &runtimeapi.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, h := range st.GetRuntimeHandlers() {
		names = append(names, h.GetName())
	}
	if strings.Join(names, ",") != ",skiff,crun,gone" {
		t.Errorf("handlers %q", names)
	}
}

// TestForeignRuntimeOutlivesSupervisor kills the supervisor: the container goes
// on, and its exit code is known.
func TestForeignRuntimeOutlivesSupervisor(t *testing.T) {
	n, box, config := withCrun(t)
	id := n.run(box, config, "app", nil, "sh", "-c", "trap 'exit 9' TERM; echo started; while :; do sleep 0.05; done")
	n.untilLogged(id, "started")
	info, err := n.s.sup.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(info.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.stop()
	if err := unix.Kill(n.record(id).PID, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	n.start()
	if st := n.wait(id); st.ExitCode != 9 {
		t.Errorf("%v", st)
	}
}

// TestForeignRuntimeNoLongerConfigured takes a handler out of the configuration: containers of its sandboxes must not run
// under skiff's own runtime, which may shield the node less.
func TestForeignRuntimeNoLongerConfigured(t *testing.T) {
	n, box, config := withCrun(t)
	id, err := n.create(box, config, "app", nil, "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	n.s.deps.Handlers = nil
	if _, err := n.s.StartContainer(n.ctx(), &runtimeapi.StartContainerRequest{ContainerId: id}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `"crun"`) {
		t.Errorf("%v", err)
	}
}

// runtimeThat writes a program that says of itself what text is, and otherwise is the runtime at path.
func runtimeThat(t *testing.T, path, says string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(path))
	script := "#!/bin/sh\ntest \"$1\" != features || { " + says + "; exit; }\nexec " + path + " \"$@\"\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

const saysIDMap = `echo '{"linux":{"mountExtensions":{"idmap":{"enabled":true}}}}'`

// TestForeignRuntimeUsers gives a pod with a user namespace to other runtimes: those that say that they can do it.
func TestForeignRuntimeUsers(t *testing.T) {
	handlers := map[string]string{"other": ocitest.Path(t)}
	if _, err := os.Stat(crun); err == nil {
		handlers["crun"] = runtimeThat(t, crun, saysIDMap)
	}
	for name := range handlers {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.s.deps.Handlers, n.deps.Handlers = handlers, handlers
			usersUnder(t, n, name)
		})
	}
}

func usersUnder(t *testing.T, n *node, handler string) {
	n.importImage("content:1", imageSpec{files: map[string]string{"data/hello": "from the image\n"}})
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "pod", Namespace: "default", Uid: "pod-uid"}, Hostname: "pod", LogDirectory: filepath.Join(n.dir, "logs", "pod"),
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
	podUsers(config.Linux.SecurityContext.NamespaceOptions, runtimeapi.NamespaceMode_POD, idRange(0, mappedRoot, 65536))
	made, err := n.s.RunPodSandbox(n.ctx(), &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		t.Fatal(err)
	}
	volume := t.TempDir()
	if err := os.WriteFile(filepath.Join(volume, "root"), []byte("of root\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	id := n.run(made.GetPodSandboxId(), config, "app", func(c *runtimeapi.ContainerConfig) {
		ids := []*runtimeapi.IDMapping{idRange(0, mappedRoot, 65536)}
		c.Mounts = []*runtimeapi.Mount{
			{ContainerPath: "/vol", HostPath: volume, UidMappings: ids, GidMappings: ids},
			{ContainerPath: "/img", Readonly: true, Image: &runtimeapi.ImageSpec{Image: "content:1"}},
		}
	}, "sh", "-c", "trap 'exit 7' TERM; echo started; while :; do sleep 0.05; done")
	n.untilLogged(id, "started")
	script := "id -u; cat /proc/self/uid_map | tr -s ' '; stat -c %u /bin/busybox /vol/root /img/data/hello; cat /vol/root /img/data/hello; echo x > /made; echo y > /vol/new; stat -c %u /made /vol/new"
	want := fmt.Sprintf("0\n 0 %d 65536\n0\n0\n0\nof root\nfrom the image\n0\n0\n", mappedRoot)
	if out, code := n.exec(id, "sh", "-c", script); out != want || code != 0 {
		t.Errorf("inside: %q %d, want %q", out, code, want)
	}
	var st unix.Stat_t
	if err := unix.Lstat(fmt.Sprintf("/proc/%d", n.record(id).PID), &st); err != nil || st.Uid != mappedRoot {
		t.Errorf("the process belongs to %d on the node: %v", st.Uid, err)
	}
	if err := unix.Lstat(filepath.Join(volume, "new"), &st); err != nil || st.Uid != 0 {
		t.Errorf("the new file of the volume belongs to %d: %v", st.Uid, err)
	}
	if _, err := n.s.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if st := n.wait(id); st.ExitCode != 7 {
		t.Errorf("%v", st)
	}
}

// TestForeignRuntimeWithoutUsers refuses such a pod, with the reason, to those that do not say so; nothing is left of it.
func TestForeignRuntimeWithoutUsers(t *testing.T) {
	n := newNode(t)
	says := map[string][2]string{
		"silent":  {"exit 0", "reading what"},
		"old":     {"echo unknown command features >&2; exit 3", "unknown command features"},
		"without": {`echo '{"linux":{"namespaces":["user"]}}'`, "linux.mountExtensions.idmap.enabled"},
		"not":     {strings.Replace(saysIDMap, "true", "false", 1), "linux.mountExtensions.idmap.enabled"},
	}
	n.s.deps.Handlers = map[string]string{}
	for name, c := range says {
		n.s.deps.Handlers[name] = runtimeThat(t, "/bin/false", c[0])
	}
	for name, c := range says {
		config := &runtimeapi.PodSandboxConfig{
			Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name},
			Linux:    &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{}}},
		}
		podUsers(config.Linux.SecurityContext.NamespaceOptions, runtimeapi.NamespaceMode_POD, idRange(0, mappedRoot, 65536))
		_, err := n.s.RunPodSandbox(n.ctx(), &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: name})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Another release is asked anew.
	if err := os.WriteFile(n.s.deps.Handlers["not"], []byte("#!/bin/sh\n"+saysIDMap+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := n.s.checkUsersOf(n.ctx(), "not", n.s.deps.Handlers["not"]); err != nil {
		t.Errorf("after its upgrade: %v", err)
	}
	answer, err := n.s.Status(n.ctx(), &runtimeapi.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range answer.GetRuntimeHandlers() {
		_, asked := says[h.GetName()]
		if want := !asked || h.GetName() == "not"; h.GetFeatures().GetUserNamespaces() != want {
			t.Errorf("the status of %q: %v", h.GetName(), h)
		}
	}
}
