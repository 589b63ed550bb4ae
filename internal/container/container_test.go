package container

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/oci"
	"go.skiff.dev/skiff/internal/supervisor"
)

// TestMain lets the test binary play skiff-oci: supervisor and init.
// SKIFF_OCI names the real program instead, for benchmarks.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "supervisor":
			os.Exit(supervisor.Main(os.Args[2:]))
		case "monitor":
			os.Exit(supervisor.Monitor(os.Args[2:]))
		case "init":
			runtime.LockOSThread()
			oci.InitMain(os.Args[2:])
		}
	}
	os.Exit(m.Run())
}

// program opens what plays skiff-oci.
func program() (*os.File, error) {
	if named := os.Getenv("SKIFF_OCI"); named != "" {
		return os.Open(named)
	}
	return os.Open("/proc/self/exe")
}

// node is a whole container layer of its own for one test.
type node struct {
	t      testing.TB
	dir    string
	cgroup string
	images *image.Store
	deps   Deps
	s      *Service
	stop   func()
}

func newNode(t testing.TB) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers need root")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("no static busybox at /bin/busybox (Debian: busybox-static)")
	}
	native := os.Getenv(nativeDir)
	dir, err := os.MkdirTemp(native, "ctr")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, cgroup: fmt.Sprintf("/skiff-test-%d-%s", os.Getpid(), filepath.Base(dir))}
	n.images, err = image.Open(image.Options{Dir: filepath.Join(dir, "images"), Copy: native != ""})
	if err != nil {
		t.Fatal(err)
	}
	n.deps = Deps{
		Dir: filepath.Join(dir, "containers"), RunDir: filepath.Join(dir, "run"), CgroupParent: n.cgroup, Images: n.images,
		Supervisor: supervisor.Options{
			Socket: filepath.Join(dir, "s.sock"), Dir: filepath.Join(dir, "s"), Exe: program,
		},
	}
	n.importImage("busybox:1", imageSpec{Env: []string{"FROM=image"}, Cmd: []string{"sh"}})
	n.start()
	t.Cleanup(n.close)
	return n
}

// start runs a Service over what is on disk, as a new skiff would.
func (n *node) start() {
	n.t.Helper()
	s, err := New(n.deps)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Component().Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		log, _ := os.ReadFile(filepath.Join(n.deps.Supervisor.Dir, "supervisor.log"))
		n.t.Fatalf("service ended: %v\n%s", err, log)
	case <-time.After(time.Minute):
		n.t.Fatal("service is not ready")
	}
	n.s = s
	n.stop = func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Log(err)
		}
	}
}

func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n.removeAll(ctx)
	n.stop()
	if err := supervisor.NewClient(n.deps.Supervisor).Shutdown(ctx, true); err != nil {
		n.t.Errorf("shutting down: %v", err)
	}
	if n.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(n.deps.Supervisor.Dir, "supervisor.log"))
		n.t.Logf("supervisor's log:\n%s", log)
	}
	n.checkClean()
}

func (n *node) removeAll(ctx context.Context) {
	for _, b := range n.s.allSandboxes() {
		if _, err := n.s.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: b.rec.Load().ID}); err != nil {
			n.t.Errorf("removing a sandbox: %v", err)
		}
	}
}

// checkClean verifies that nothing is left, and removes the rest.
func (n *node) checkClean() {
	for _, sub := range []string{"containers/sandboxes", "containers/containers", "run/sandboxes", "s/containers", "s/oci", "s/foreign", "s/foreign-state"} {
		if left, _ := os.ReadDir(filepath.Join(n.dir, sub)); len(left) > 0 {
			n.t.Errorf("%s left in %s", left, sub)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), n.dir) {
		n.t.Errorf("mounts left behind")
	}
	v1, _ := filepath.Glob("/sys/fs/cgroup/*" + n.cgroup)
	v2, _ := filepath.Glob("/sys/fs/cgroup" + n.cgroup)
	for _, m := range append(v1, v2...) {
		_ = os.Remove(filepath.Join(m, "pod")) // the node agent's, not ours
		if err := os.Remove(m); err != nil {
			n.t.Errorf("cgroup left behind: %v", err)
		}
	}
	if err := n.images.Close(); err != nil {
		n.t.Error(err)
	}
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Error(err)
	}
}

func (n *node) ctx() context.Context {
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	n.t.Cleanup(cancel)
	return ctx
}

// imageSpec is what an image of a test is configured as.
type imageSpec struct {
	Env, Cmd, Entrypoint []string            `json:",omitempty"`
	User, WorkingDir     string              `json:",omitempty"`
	StopSignal           string              `json:",omitempty"`
	Volumes              map[string]struct{} `json:",omitempty"`
	Labels               map[string]string   `json:",omitempty"`
	files                map[string]string
}

// importImage makes a docker-archive with busybox and the given files.
func (n *node) importImage(name string, spec imageSpec) {
	n.t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		n.t.Fatal(err)
	}
	n.importLayers(name, spec, tarOf(n.t, func(w *tarWriter) {
		for _, d := range []string{"bin", "etc", "tmp", "proc", "dev", "sys", "data"} {
			w.dir(d)
		}
		w.file("bin/busybox", string(busybox), 0o755)
		for _, applet := range []string{"sh", "cat", "echo", "sleep", "id", "env", "ls", "true", "false", "mount", "head", "nc", "ps", "kill", "hostname", "stty", "grep", "tail", "dd", "seq", "pwd", "touch", "readlink"} {
			w.link("bin/"+applet, "busybox")
		}
		w.file("etc/passwd", "root:x:0:0::/root:/bin/sh\nuser:x:1000:1001::/home/user:/bin/sh\n", 0o644)
		w.file("etc/group", "root:x:0:\nusers:x:1001:\nextra:x:2000:user\n", 0o644)
		for file, text := range spec.files {
			w.file(file, text, 0o644)
		}
	}))
}

// importLayers makes a docker-archive of layers, the bottom one first.
func (n *node) importLayers(name string, spec imageSpec, layers ...[]byte) {
	n.t.Helper()
	var diffIDs, files []string
	for i, layer := range layers {
		diffIDs = append(diffIDs, fmt.Sprintf("sha256:%x", sha256.Sum256(layer)))
		files = append(files, fmt.Sprintf("layer%d.tar", i))
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": spec,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	manifest, _ := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": files}})
	archive := tarOf(n.t, func(w *tarWriter) {
		w.file("config.json", string(config), 0o644)
		for i, layer := range layers {
			w.file(files[i], string(layer), 0o644)
		}
		w.file("manifest.json", string(manifest), 0o644)
	})
	if _, err := n.images.Import(n.ctx(), bytes.NewReader(archive), image.ImportOptions{}); err != nil {
		n.t.Fatal(err)
	}
}

type tarWriter struct {
	t testing.TB
	w *tar.Writer
}

func tarOf(t testing.TB, fill func(*tarWriter)) []byte {
	var buf bytes.Buffer
	w := &tarWriter{t: t, w: tar.NewWriter(&buf)}
	fill(w)
	if err := w.w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (w *tarWriter) entry(h *tar.Header, body string) {
	h.Size = int64(len(body))
	if err := w.w.WriteHeader(h); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.w.Write([]byte(body)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tarWriter) dir(name string) {
	w.entry(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
}

func (w *tarWriter) file(name, body string, mode int64) {
	w.entry(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}, body)
}

func (w *tarWriter) link(name, target string) {
	w.entry(&tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, "")
}

// sandbox runs a sandbox.
func (n *node) sandbox(name string, change func(*runtimeapi.PodSandboxConfig)) (string, *runtimeapi.PodSandboxConfig) {
	n.t.Helper()
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name + "-uid"},
		Hostname: name, LogDirectory: filepath.Join(n.dir, "logs", name),
		DnsConfig: &runtimeapi.DNSConfig{Servers: []string{"10.43.0.10"}, Searches: []string{"svc.cluster.local"}, Options: []string{"ndots:5"}},
		Labels:    map[string]string{"app": name},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
	if change != nil {
		change(config)
	}
	resp, err := n.s.RunPodSandbox(n.ctx(), &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		n.t.Fatalf("running sandbox %s: %v", name, err)
	}
	return resp.PodSandboxId, config
}

// create creates a container.
func (n *node) create(box string, config *runtimeapi.PodSandboxConfig, name string, change func(*runtimeapi.ContainerConfig), args ...string) (string, error) {
	c := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: "busybox:1"},
		Command: args, LogPath: name + "/0.log", Labels: map[string]string{"name": name},
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: config.GetLinux().GetSecurityContext().GetNamespaceOptions(),
		}},
	}
	if change != nil {
		change(c)
	}
	resp, err := n.s.CreateContainer(n.ctx(), &runtimeapi.CreateContainerRequest{PodSandboxId: box, Config: c, SandboxConfig: config})
	if err != nil {
		return "", err
	}
	return resp.ContainerId, nil
}

// run creates and starts a container.
func (n *node) run(box string, config *runtimeapi.PodSandboxConfig, name string, change func(*runtimeapi.ContainerConfig), args ...string) string {
	n.t.Helper()
	id, err := n.create(box, config, name, change, args...)
	if err != nil {
		n.t.Fatalf("creating %s: %v", name, err)
	}
	if _, err := n.s.StartContainer(n.ctx(), &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		n.t.Fatalf("starting %s: %v", name, err)
	}
	return id
}

func (n *node) status(id string) *runtimeapi.ContainerStatus {
	n.t.Helper()
	resp, err := n.s.ContainerStatus(n.ctx(), &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.Status
}

// wait returns the status of a container that has exited.
func (n *node) wait(id string) *runtimeapi.ContainerStatus {
	n.t.Helper()
	c, err := n.s.findContainer(id)
	if err != nil {
		n.t.Fatal(err)
	}
	select {
	case <-c.exited:
	case <-time.After(time.Minute):
		n.t.Fatalf("container %s does not end", id)
	}
	return n.status(id)
}

// exec runs a command and returns what it wrote to both streams.
func (n *node) exec(id string, args ...string) (string, int32) {
	n.t.Helper()
	resp, err := n.s.ExecSync(n.ctx(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: args, Timeout: 20})
	if err != nil {
		n.t.Fatalf("exec %q: %v", args, err)
	}
	return string(resp.Stdout) + string(resp.Stderr), resp.ExitCode
}

// log is the text of a container's log.
func (n *node) log(id string) string {
	n.t.Helper()
	data, err := os.ReadFile(n.status(id).LogPath)
	if err != nil {
		n.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		out.WriteString(f[3])
		if f[2] == "F" {
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// untilLogged waits until a container has written something: the event for
// which a test has no descriptor is a line in a file.
func (n *node) untilLogged(id, text string) {
	n.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // a line in a file announces itself to nobody here
		if strings.Contains(n.log(id), text) {
			return
		}
	}
	n.t.Fatalf("%s did not log %q: %q", id, text, n.log(id))
}
