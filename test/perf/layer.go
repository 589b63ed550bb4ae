package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/test/testimage"
)

const (
	layerImage = "perf/busybox:1"
	// together is how many sandboxes are started at once.
	together = 100
)

// layer is a client of a skiff's CRI.
type layer struct {
	runtimeapi.RuntimeServiceClient
	skiff *skiff
	dir   string
	conn  *grpc.ClientConn
}

func (l layer) close() { l.conn.Close() }

// layer connects to the skiff's CRI, which has an image to run.
func (s *skiff) layer(ctx context.Context) (layer, error) {
	image, err := testimage.Busybox(layerImage)
	if err != nil {
		return layer{}, err
	}
	if _, err := s.importImage(ctx, image); err != nil {
		return layer{}, err
	}
	conn, err := grpc.NewClient("unix://"+filepath.Join(s.run, "cri.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return layer{}, err
	}
	return layer{runtimeapi.NewRuntimeServiceClient(conn), s, s.dir, conn}, nil
}

// withLayer measures a fresh skiff by its CRI.
func withLayer(ctx context.Context, measure func(context.Context, layer) ([]result, error)) (_ []result, err error) {
	s, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.purge()) }()
	l, err := s.layer(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	return measure(ctx, l)
}

// measureLayer takes the time of the container layer's steps by its socket, as
// a kubelet of another process would see them, beside the peers' command lines.
func measureLayer(ctx context.Context, l layer) ([]result, error) {
	var results []result
	for _, measure := range []func(context.Context) ([]result, error){l.measureSandbox, l.measureContainers, l.measureExec, l.measureTogether} {
		r, err := measure(ctx)
		if err != nil {
			return nil, err
		}
		results = append(results, r...)
	}
	return results, nil
}

func (l layer) sandbox(ctx context.Context, name string) (string, *runtimeapi.PodSandboxConfig, error) {
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name + "-uid"},
		Hostname: name, LogDirectory: filepath.Join(l.dir, "logs", name),
		DnsConfig: &runtimeapi.DNSConfig{Servers: []string{"10.43.0.10"}},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
	r, err := l.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
	return r.GetPodSandboxId(), config, err
}

func (l layer) drop(ctx context.Context, box string) error {
	_, err := l.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: box})
	return err
}

// container creates and starts a container.
func (l layer) container(ctx context.Context, box string, config *runtimeapi.PodSandboxConfig, name string, args ...string) (string, error) {
	return l.begin(ctx, box, config, containerConfig(config, name, args...))
}

func containerConfig(config *runtimeapi.PodSandboxConfig, name string, args ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: layerImage}, Command: args, LogPath: name + ".log",
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			NamespaceOptions: config.Linux.SecurityContext.NamespaceOptions,
		}},
	}
}

func (l layer) begin(ctx context.Context, box string, config *runtimeapi.PodSandboxConfig, c *runtimeapi.ContainerConfig) (string, error) {
	made, err := l.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: box, Config: c, SandboxConfig: config})
	if err != nil {
		return "", err
	}
	_, err = l.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: made.ContainerId})
	return made.ContainerId, err
}

func (l layer) measureSandbox(ctx context.Context) ([]result, error) {
	var samples []time.Duration
	for i := range runs {
		began := time.Now()
		box, _, err := l.sandbox(ctx, fmt.Sprintf("box%d", i))
		samples = append(samples, time.Since(began))
		if err := errors.Join(err, l.drop(ctx, box)); err != nil {
			return nil, err
		}
	}
	return []result{{"sandbox with network", median(samples), "ms", fmt.Sprintf("median of %d", runs)}}, nil
}

// measureContainers makes containers by the CRI, and by crun in turns: with the
// configuration that the CRI's have.
func (l layer) measureContainers(ctx context.Context) (_ []result, err error) {
	box, config, err := l.sandbox(ctx, "containers")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.drop(ctx, box)) }()
	bundle, err := l.sameBundle(ctx, box, config)
	if err != nil {
		return nil, err
	}
	defer removeBundle(bundle)
	crun := peer(ctx, "crun", bundle)
	var own, theirs []time.Duration
	for i := range runs {
		began := time.Now()
		id, err := l.container(ctx, box, config, fmt.Sprintf("c%d", i), "true")
		if err == nil {
			_, err = l.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
		}
		if err != nil {
			return nil, err
		}
		own = append(own, time.Since(began))
		if crun == nil {
			continue
		}
		took, _, err := runContainer(ctx, *crun, bundle, fmt.Sprintf("perf-%d-%d", os.Getpid(), i))
		if err != nil {
			return nil, err
		}
		theirs = append(theirs, took)
	}
	results := []result{{"container by the CRI", median(own), "ms", fmt.Sprintf("create, start, remove; median of %d", runs)}}
	if crun != nil {
		results = append(results, share("container by the CRI / crun run", own, theirs))
	}
	return results, nil
}

// sameBundle is a bundle with the configuration of a container of the sandbox,
// as skiff's own runtime got it, but for its version and the name of its cgroup.
func (l layer) sameBundle(ctx context.Context, box string, config *runtimeapi.PodSandboxConfig) (string, error) {
	id, err := l.container(ctx, box, config, "model", "sleep", "1000")
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(filepath.Join(l.skiff.run, "supervisor", "oci", id, "config.json"))
	if err != nil {
		return "", err
	}
	if _, err := l.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
		return "", err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return "", err
	}
	spec.Version = oldSpec
	spec.Process.Args = []string{"/bin/true"}
	pause, err := l.pausePID(ctx, box)
	if err != nil {
		return "", err
	}
	for i := range spec.Linux.Namespaces {
		ns := &spec.Linux.Namespaces[i]
		switch ns.Type {
		case specs.NetworkNamespace, specs.IPCNamespace, specs.UTSNamespace:
			ns.Path = namespace.Path(pause, string(ns.Type))
		}
	}
	spec.Linux.CgroupsPath = fmt.Sprintf("/skiff-perf-%d", os.Getpid())
	return makeBundleOf(&spec)
}

func (l layer) pausePID(ctx context.Context, box string) (int, error) {
	st, err := l.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box, Verbose: true})
	if err != nil {
		return 0, err
	}
	var info struct{ PID int }
	if err := json.Unmarshal([]byte(st.Info["info"]), &info); err != nil {
		return 0, fmt.Errorf("reading the sandbox's pid: %w", err)
	}
	return info.PID, nil
}

// measureExec runs a program in a container, by the CRI and by runc in turns.
func (l layer) measureExec(ctx context.Context) (_ []result, err error) {
	box, config, err := l.sandbox(ctx, "execs")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.drop(ctx, box)) }()
	id, err := l.container(ctx, box, config, "c", "sleep", "1000")
	if err != nil {
		return nil, err
	}
	theirs := func() (time.Duration, error) { return 0, nil }
	runc := ""
	if path, missing := exec.LookPath("runc"); missing == nil {
		bundle, err := makeBundle("/bin/sleep", "1000")
		if err != nil {
			return nil, err
		}
		defer removeBundle(bundle)
		name := fmt.Sprintf("perf-%d-exec", os.Getpid())
		line := func(args ...string) error {
			// Without pipes: the container in the background would keep them open.
			if err := exec.CommandContext(ctx, path, append([]string{"--root", stateDir(bundle)}, args...)...).Run(); err != nil {
				return fmt.Errorf("runc %s: %w", args[0], err)
			}
			return nil
		}
		if err := line("run", "--detach", "--bundle", bundle, name); err != nil {
			fmt.Fprintf(os.Stderr, "runc can't be measured here: %v\n", err)
		} else {
			runc = path
			defer func() { err = errors.Join(err, line("delete", "--force", name)) }()
		}
		theirs = func() (time.Duration, error) {
			began := time.Now()
			err := line("exec", name, "/bin/true")
			return time.Since(began), err
		}
	}
	var ours, peers []time.Duration
	for range runs {
		began := time.Now()
		r, err := l.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"true"}, Timeout: 30})
		if err != nil || r.ExitCode != 0 {
			return nil, fmt.Errorf("exec: %v, %w", r, err)
		}
		ours = append(ours, time.Since(began))
		if runc != "" {
			took, err := theirs()
			if err != nil {
				return nil, err
			}
			peers = append(peers, took)
		}
	}
	results := []result{{"exec", median(ours), "ms", fmt.Sprintf("by the CRI; median of %d", runs)}}
	if runc != "" {
		results = append(results, share("exec / runc exec", ours, peers))
	}
	return results, nil
}

// measureTogether starts many sandboxes with a container each at once, and
// reads what they cost beside skiff.
func (l layer) measureTogether(ctx context.Context) (_ []result, err error) {
	boxes := make([]string, together)
	defer func() {
		for _, box := range boxes {
			if box != "" {
				err = errors.Join(err, l.drop(ctx, box))
			}
		}
	}()
	var g errgroup.Group
	began := time.Now()
	for i := range together {
		g.Go(func() error {
			box, config, err := l.sandbox(ctx, fmt.Sprintf("many%d", i))
			boxes[i] = box
			if err != nil {
				return err
			}
			_, err = l.container(ctx, box, config, "c", "sleep", "1000")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	took := time.Since(began)
	pid, err := l.pausePID(ctx, boxes[0])
	if err != nil {
		return nil, err
	}
	pause, err := private(pid)
	if err != nil {
		return nil, err
	}
	supervisor, err := l.supervisorAtRest(ctx)
	if err != nil {
		return nil, err
	}
	return []result{
		{"supervisor (private)", supervisor, "MiB", "with 100 sandboxes with a container"},
		{"100 sandboxes with a container", took.Seconds() * 1000, "ms", "at once"},
		{"pause (private)", pause, "MiB", ""},
	}, nil
}

// supervisorAtRest is the supervisor's memory once it has given back what it needed for the starts.
func (l layer) supervisorAtRest(ctx context.Context) (float64, error) {
	st, err := l.skiff.status(ctx)
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, quietTime); err != nil {
		return 0, err
	}
	return private(st.Supervisor.PID)
}

// quietTime is longer than the supervisor waits after a start before it gives memory back.
const quietTime = 4 * time.Second

// share is the relation of two medians of one run.
func share(name string, own, peer []time.Duration) result {
	return result{name, median(own) / median(peer), "", fmt.Sprintf("%.1f ms to %.1f ms; medians of %d in turns", median(own), median(peer), len(own))}
}

// private is the memory that only one process has (proc_pid_smaps(5)).
func private(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	var sum float64
	for line := range strings.Lines(string(data)) {
		var kib float64
		if strings.HasPrefix(line, "Private_") {
			if _, err := fmt.Sscan(strings.Fields(line)[1], &kib); err != nil {
				return 0, fmt.Errorf("smaps_rollup of %d: %w", pid, err)
			}
			sum += kib / 1024
		}
	}
	return sum, nil
}
