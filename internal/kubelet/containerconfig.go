package kubelet

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
	"sigs.k8s.io/yaml"

	"go.skiff.dev/skiff/internal/kernel/rootfd"
)

// containerConfig is one container as the CRI describes it. image is the
// reference by which the container layer knows the image, volumes those of images
// that are volumes, attempt the number of earlier starts, ips the sandbox's addresses. An error is a fault of the
// configuration: a missing key, a missing object, a bad path.
func (k *Kubelet) containerConfig(ctx context.Context, pod *v1.Pod, c *v1.Container, attempt int, image string, volumes map[string]string, ips []string) (*runtimeapi.ContainerConfig, error) {
	env, err := k.environment(ctx, pod, c, k.podIPs(pod, ips))
	if err != nil {
		return nil, err
	}
	mounts, err := k.mounts(pod, c, attempt, env, volumes, k.podIPs(pod, ips))
	if err != nil {
		return nil, err
	}
	linux, err := k.linuxContainer(ctx, pod, c, image)
	if err != nil {
		return nil, err
	}
	mapMounts(mounts, linux.SecurityContext.NamespaceOptions.UsernsOptions)
	// The directory of all logs may have been cleaned away since the sandbox was made.
	if err := os.MkdirAll(k.deps.LogDir, 0o755); err != nil {
		return nil, fmt.Errorf("making log directory: %w", err)
	}
	dir, _, err := rootfd.Parent(k.deps.LogDir, filepath.Join(filepath.Base(k.logDir(pod)), c.Name, "0.log"), true)
	if err != nil {
		return nil, fmt.Errorf("making log directory of container %s: %w", c.Name, err)
	}
	dir.Close()
	config := &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: uint32(attempt)},
		Image:       &runtimeapi.ImageSpec{Image: image, UserSpecifiedImage: c.Image},
		Command:     expandAll(c.Command, env),
		Args:        expandAll(c.Args, env),
		WorkingDir:  c.WorkingDir,
		Mounts:      mounts,
		Devices:     nil,
		Labels:      containerLabels(pod, c),
		Annotations: containerAnnotations(pod, c, attempt),
		LogPath:     fmt.Sprintf("%s/%d.log", c.Name, attempt),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		Linux:       linux,
		StopSignal:  stopSignal(c),
	}
	for _, e := range env {
		config.Envs = append(config.Envs, &runtimeapi.KeyValue{Key: e.Name, Value: []byte(e.Value)})
	}
	return config, nil
}

func containerLabels(pod *v1.Pod, c *v1.Container) map[string]string {
	return map[string]string{
		kubelettypes.KubernetesPodNameLabel:       pod.Name,
		kubelettypes.KubernetesPodNamespaceLabel:  pod.Namespace,
		kubelettypes.KubernetesPodUIDLabel:        string(pod.UID),
		kubelettypes.KubernetesContainerNameLabel: c.Name,
	}
}

func containerAnnotations(pod *v1.Pod, c *v1.Container, attempt int) map[string]string {
	a := map[string]string{
		annotationHash:         containerHash(c),
		annotationRestartCount: strconv.Itoa(attempt),
		annotationMessagePath:  c.TerminationMessagePath,
		annotationMessagePol:   string(c.TerminationMessagePolicy),
		annotationGrace:        strconv.FormatInt(gracePeriod(pod), 10),
	}
	if given := startedWith(pod, c); given != "" {
		a[annotationResources] = given
	}
	return a
}

// containerHash tells whether the parts of a container that may change in place
// have changed: only name and image, as upstream since 1.31.
func containerHash(c *v1.Container) string {
	h := fnv.New32a()
	picked, _ := yaml.Marshal(map[string]string{"name": c.Name, "image": c.Image}) // strings always marshal
	_, _ = h.Write(picked)
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}

func stopSignal(c *v1.Container) runtimeapi.Signal {
	if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
		return runtimeapi.Signal_RUNTIME_DEFAULT
	}
	return runtimeapi.Signal(runtimeapi.Signal_value[string(*c.Lifecycle.StopSignal)])
}

// podIPs are the addresses that a pod in a sandbox with the given addresses has.
func (k *Kubelet) podIPs(pod *v1.Pod, sandbox []string) []string {
	if !pod.Spec.HostNetwork {
		return sandbox
	}
	return k.hostIPs()
}

func (k *Kubelet) hostIPs() []string {
	var ips []string
	for _, ip := range k.deps.NodeIPs {
		ips = append(ips, ip.String())
	}
	return ips
}
