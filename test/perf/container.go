package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/thread"
)

// runs is how many containers each runtime makes.
const runs = 40

// measureContainer makes, runs and removes a container on the command line, by
// skiff-oci and by those peers that the machine has, in turns.
func measureContainer(ctx context.Context) ([]result, error) {
	bundle, err := makeBundle("/bin/true")
	if err != nil {
		return nil, err
	}
	defer removeBundle(bundle)
	own, err := filepath.Abs("bin/skiff-oci")
	if err != nil {
		return nil, err
	}
	programs := map[string]command{"skiff-oci": {line: []string{own}}}
	for _, name := range []string{"crun", "runc"} {
		if p := peer(ctx, name, bundle); p != nil {
			programs[name] = *p
		}
	}
	samples := map[string][]time.Duration{}
	for i := range runs {
		for name, program := range programs {
			took, _, err := runContainer(ctx, program, bundle, fmt.Sprintf("perf-%d-%d", os.Getpid(), i))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			samples[name] = append(samples[name], took)
		}
	}
	var results []result
	for _, name := range []string{"skiff-oci", "crun", "runc"} {
		if s := samples[name]; s != nil {
			results = append(results, result{name + " run", median(s), "ms", fmt.Sprintf("create, start, wait, delete; median of %d", len(s))})
		}
	}
	if theirs := samples["crun"]; theirs != nil {
		results = append(results, share("skiff-oci run / crun run", samples["skiff-oci"], theirs))
	}
	init, err := measureInit(ctx, own, bundle)
	return append(results, init), err
}

// unified is the cgroup v2 mount of a hybrid layout.
const unified = "/sys/fs/cgroup/unified"

// command is the command line of a runtime.
type command struct {
	line []string
	// plain runs it where a hybrid cgroup layout looks like one of v1 only.
	plain bool
}

// peer is a runtime that works on this machine, or nil. crun refuses a hybrid
// cgroup layout; there it runs in a mount namespace without its v2 part.
func peer(ctx context.Context, name, bundle string) *command {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil
	}
	candidates := []command{{line: []string{path}}}
	if _, err := os.Stat(unified); err == nil {
		candidates = append(candidates, command{line: []string{path}, plain: true})
	}
	for _, c := range candidates {
		if _, _, err = runContainer(ctx, c, bundle, fmt.Sprintf("perf-%d-try", os.Getpid())); err == nil {
			return &c
		}
	}
	fmt.Fprintf(os.Stderr, "%s can't be measured here: %v\n", name, err)
	return nil
}

// withoutUnified runs f in a mount namespace where the v2 part of a hybrid
// layout is not mounted.
func withoutUnified(f func() ([]byte, error)) ([]byte, error) {
	return thread.Apart(func() ([]byte, error) {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return nil, fmt.Errorf("making a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return nil, fmt.Errorf("making mounts private: %w", err)
		}
		if err := unix.Unmount(unified, 0); err != nil {
			return nil, fmt.Errorf("unmounting %s: %w", unified, err)
		}
		return f()
	})
}

// measureInit takes the time from the exec of a container's init to the exec of
// the container's program, by the kernel's clock.
func measureInit(ctx context.Context, program, bundle string) (result, error) {
	events, err := watchExecs()
	if err != nil {
		return result{}, err
	}
	defer events.close()
	var samples []time.Duration
	for i := range runs {
		_, pid, err := runContainer(ctx, command{line: []string{program}}, bundle, fmt.Sprintf("perf-%d-init-%d", os.Getpid(), i))
		if err != nil {
			return result{}, err
		}
		found, err := events.below(pid)
		if err != nil {
			return result{}, err
		}
		// The one process with two execs or more is init: on v1 what enters
		// the cgroups, itself, then the container's program. All of it
		// counts, also the waits: for the parent to set limits and to write
		// its record, and for start.
		for _, times := range found {
			if n := len(times); n >= 2 {
				samples = append(samples, times[n-1]-times[0])
			}
		}
	}
	if len(samples) == 0 {
		return result{}, fmt.Errorf("no process executed twice")
	}
	note := fmt.Sprintf("from exec to exec, waiting for the parent and for a CPU included; median of %d, fastest %.2f ms",
		len(samples), slices.Min(samples).Seconds()*1000)
	return result{"container init", median(samples), "ms", note}, nil
}

// runContainer returns how long the command took, and its pid.
func runContainer(ctx context.Context, c command, bundle, id string) (took time.Duration, pid int, err error) {
	line := append(slices.Clone(c.line), "--root", stateDir(bundle), "run", "--bundle", bundle, id)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	run := func() ([]byte, error) {
		began := time.Now()
		out, err := cmd.CombinedOutput()
		took = time.Since(began)
		return out, err
	}
	var out []byte
	if c.plain {
		out, err = withoutUnified(run)
	} else {
		out, err = run()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %s", err, out)
	}
	return took, cmd.Process.Pid, nil
}

// stateDir is where a runtime keeps its state of a bundle's containers.
func stateDir(bundle string) string { return filepath.Join(memory(), filepath.Base(bundle)) }

// removeBundle removes a bundle and what a runtime kept of it.
func removeBundle(bundle string) {
	_ = os.RemoveAll(bundle)
	_ = os.RemoveAll(stateDir(bundle))
}

// oldSpec is a version of the runtime specification that Debian's crun knows.
const oldSpec = "1.0.2"

// makeBundle makes a bundle of Debian's static busybox that runs a program.
func makeBundle(args ...string) (string, error) { return makeBundleOf(bareSpec(args...)) }

// bareSpec is a configuration with the least that a container has.
func bareSpec(args ...string) *specs.Spec {
	return &specs.Spec{
		Version: oldSpec,
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{Cwd: "/", Args: args, Env: []string{"PATH=/bin"}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
			},
			CgroupsPath: fmt.Sprintf("/skiff-perf-%d", os.Getpid()),
		},
	}
}

// makeBundleOf makes a bundle with that configuration; its root is "rootfs".
func makeBundleOf(spec *specs.Spec) (string, error) {
	dir, err := os.MkdirTemp("", "skiff-perf-bundle-")
	if err != nil {
		return "", err
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return "", fmt.Errorf("reading busybox: %w; `make deps` installs it", err)
	}
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			return "", err
		}
	}
	for _, name := range []string{"true", "sleep"} {
		if err := os.WriteFile(filepath.Join(dir, "rootfs/bin", name), busybox, 0o755); err != nil {
			return "", err
		}
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600)
}
