package kubelet

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"go.skiff.dev/skiff/internal/apiserver/apitest"
	"go.skiff.dev/skiff/internal/container"
	"go.skiff.dev/skiff/internal/image"
	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/internal/lifecycle"
	"go.skiff.dev/skiff/internal/oci"
	"go.skiff.dev/skiff/internal/pki"
	"go.skiff.dev/skiff/internal/podnet"
	"go.skiff.dev/skiff/internal/supervisor"
	"go.skiff.dev/skiff/test/testimage"
)

const testNode = "test-node"

// testCluster is a real API server and store, the real container layer,
// supervisor and network, and the node agent under test, in a network namespace
// of their own.
type testCluster struct {
	t       testing.TB
	api     *apitest.Server
	client  kubernetes.Interface
	dir     string
	cgroup  string
	static  string
	kubelet *Kubelet
	stop    func()
	images  *image.Store
}

// startCluster runs a cluster until the test ends.
func startCluster(t testing.TB) *testCluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "kubelettest")
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{t: t, dir: dir, cgroup: fmt.Sprintf("/skiff-kubelettest-%d", os.Getpid()), static: filepath.Join(dir, "static")}
	if err := os.MkdirAll(c.static, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.purge)
	outside := kerneltest.NewNetns(t)
	kerneltest.Uplink(t, outside)
	c.api = apitest.Start(t)
	c.client = c.api.Client()
	c.prepare()
	c.startNode()
	t.Cleanup(func() {
		c.deleteAll()
		c.stop()
		c.stopSupervisor()
	})
	return c
}

// prepare makes what controllers would make.
func (c *testCluster) prepare() {
	c.t.Helper()
	ctx := c.t.Context()
	sa := &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := c.client.CoreV1().ServiceAccounts("default").Create(ctx, sa, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		c.t.Fatal(err)
	}
	ca := &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": string(c.api.Authority.CAPEM())}}
	if _, err := c.client.CoreV1().ConfigMaps("default").Create(ctx, ca, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		c.t.Fatal(err)
	}
}

// program opens skiff-oci as the source tree has it now.
func (c *testCluster) program() (*os.File, error) {
	path := filepath.Join(c.dir, "skiff-oci")
	if given := os.Getenv("SKIFF_OCI"); given != "" {
		path = given
	} else if _, err := os.Stat(path); err != nil {
		build := exec.Command("go", "build", "-o", path, "go.skiff.dev/skiff/cmd/skiff-oci")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building skiff-oci: %w: %s", err, out)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return oci.Seal("skiff-oci", f)
}

func (c *testCluster) supervisorOptions() supervisor.Options {
	return supervisor.Options{Socket: filepath.Join(c.dir, "run", "supervisor.sock"), Dir: filepath.Join(c.dir, "supervisor"), Exe: c.program}
}

// startNode starts the container layer and the node agent, as a start of skiff does.
func (c *testCluster) startNode() {
	c.t.Helper()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	images, err := image.Open(image.Options{Dir: filepath.Join(c.dir, "images"), Logger: log})
	if err != nil {
		c.t.Fatal(err)
	}
	c.images = images
	c.importBusybox(images)
	network, err := podnet.New(podnet.Options{
		Name: "kt", Bridge: "skkt0", LinkPrefix: "skkt", Table: "skkt",
		PodCIDR: netip.MustParsePrefix("10.42.0.0/24"), ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"),
		ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"), NodeIP: netip.MustParseAddr("192.0.2.1"),
		StateDir: filepath.Join(c.dir, "network"), Ledger: filepath.Join(c.dir, "ledger.json"), Log: log,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := network.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	containers, err := container.New(container.Deps{
		Dir: filepath.Join(c.dir, "containers"), RunDir: filepath.Join(c.dir, "run"), CgroupParent: c.cgroup,
		Supervisor: c.supervisorOptions(), Images: images, Network: testNetwork{network}, Version: "test", Log: log,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(c.client, 0)
	c.kubelet, err = New(Deps{
		Client: c.api.As("system:node:"+testNode, "system:nodes"), Informers: factory,
		Runtime: containers, Images: containers, Events: containers.Events, Streaming: containers.Streaming(),
		NodeName: testNode, NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Version: "test",
		DataDir: filepath.Join(c.dir, "kubelet"), LogDir: filepath.Join(c.dir, "logs"), StaticPodDir: c.static, CgroupParent: c.cgroup,
		ClusterDNS: netip.MustParseAddr("10.43.0.10"), ClusterDomain: "cluster.local", APIServer: netip.MustParseAddrPort("10.43.0.1:443"),
		TLS: c.nodeTLS(), Needs: []string{"container", "informers"}, Log: log,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	start := lifecycle.Component{Name: "informers", Run: func(ctx context.Context, ready func()) error {
		factory.Start(ctx.Done())
		ready()
		<-ctx.Done()
		factory.Shutdown()
		return nil
	}}
	c.run(lifecycle.Group{Components: []lifecycle.Component{start, containers.Component(), c.kubelet.Component()}}, func() { _, _ = network.Close(), images.Close() })
}

// run runs the group until c.stop.
func (c *testCluster) run(group lifecycle.Group, after func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- group.Run(ctx, func([]lifecycle.Stage) { close(ready) }) }()
	stopped := false
	c.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("stopping the node: %v", err)
		}
		after()
	}
	select {
	case <-ready:
	case err := <-done:
		c.t.Fatalf("starting the node: %v", err)
	case <-time.After(time.Minute):
		c.t.Fatal("the node did not become ready")
	}
}

func (c *testCluster) nodeTLS() *tls.Config {
	pair, err := c.api.Authority.ServingCert(pki.ServingRequest{CommonName: "system:node:" + testNode, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		c.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: c.api.Authority.Pool(), MinVersion: tls.VersionTLS12}
}

func (c *testCluster) importBusybox(images *image.Store) {
	if _, err := images.Resolve("busybox"); err == nil {
		return
	}
	img, err := testimage.Busybox()
	if err != nil {
		c.t.Skip(err) // the machine has no busybox
	}
	var archive bytes.Buffer
	if err := img.WriteDockerArchive(&archive); err != nil {
		c.t.Fatal(err)
	}
	if _, err := images.Import(c.t.Context(), &archive, image.ImportOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// deleteAll ends all pods that a test left.
func (c *testCluster) deleteAll() {
	if files, err := filepath.Glob(filepath.Join(c.static, "*")); err == nil {
		for _, f := range files {
			_ = os.Remove(f)
		}
	}
	list, err := c.client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return
	}
	now := int64(1)
	for _, p := range list.Items {
		_ = c.client.CoreV1().Pods("default").Delete(context.Background(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now})
	}
	for _, p := range list.Items {
		c.await(p.Name, "gone", func(p *v1.Pod) bool { return p == nil })
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		c.kubelet.mu.Lock()
		left := len(c.kubelet.workers)
		c.kubelet.mu.Unlock()
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the removal after the API object is nobody's event
	}
	c.t.Error("workers are left")
}

func (c *testCluster) stopSupervisor() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := supervisor.NewClient(c.supervisorOptions()).Shutdown(ctx, true); err != nil {
		c.t.Errorf("stopping the supervisor: %v", err)
	}
}

// purge removes all traces. A failed test may leave mounts: they go first.
func (c *testCluster) purge() {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(c.dir))
	if err != nil {
		c.t.Error(err)
	}
	for _, mount := range slices.Backward(mounts) {
		_ = unix.Unmount(mount.Mountpoint, unix.MNT_DETACH)
	}
	if m, err := cgroup.New(c.cgroup); err != nil || m.Destroy() != nil {
		c.t.Errorf("the cgroup %s is left: %v", c.cgroup, err)
	}
	if err := os.RemoveAll(c.dir); err != nil {
		c.t.Errorf("removing %s: %v", c.dir, err)
	}
}

// enter puts a test into a network of its own.
func enter(t testing.TB) bool { return kerneltest.Enter(t, kerneltest.Namespace(unix.CLONE_NEWNET)) }

func TestPodLife(t *testing.T) {
	if !enter(t) {
		return
	}
	c := startCluster(t)
	began := time.Now()
	c.pod("life", "trap 'exit 0' TERM; echo hello; while :; do sleep 0.05; done", nil)
	pod := c.ready("life")
	t.Logf("ready after %s", time.Since(began))
	if pod.Status.PodIP == "" || pod.Status.HostIP != "192.0.2.1" || pod.Status.QOSClass != v1.PodQOSBestEffort {
		t.Errorf("status %+v", pod.Status)
	}
	began = time.Now()
	c.remove("life")
	t.Logf("gone after %s", time.Since(began))
}
