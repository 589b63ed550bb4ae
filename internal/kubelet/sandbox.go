package kubelet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

// Limits of a host name: of a label, by RFC 1123, and the kernel's (HOST_NAME_MAX).
const (
	hostnameMax = 63
	fullNameMax = 64
)

// createSandbox makes the pod's cgroup and its sandbox.
func (k *Kubelet) createSandbox(ctx context.Context, pod *v1.Pod, attempt int) error {
	if err := k.gate.enter(ctx); err != nil {
		return err
	}
	defer k.gate.leave()
	config, err := k.sandboxConfig(pod, attempt)
	if err != nil {
		return err
	}
	if config.Annotations == nil {
		config.Annotations = map[string]string{}
	}
	config.Annotations[annotationAllocated] = allocationOf(pod).text()
	_, omitted := k.resolver.config(pod)
	for _, text := range omitted {
		k.events.pod(pod, v1.EventTypeWarning, "DNSConfigForming", text)
	}
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
		return fmt.Errorf("making log directory of pod %s: %w", podName(pod), err)
	}
	if err := k.cgroups.ensure(pod); err != nil {
		return err
	}
	k.weigh(pod)
	handler, err := k.runtimeHandler(ctx, pod)
	if err != nil {
		return err
	}
	_, err = k.deps.Runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return fmt.Errorf("%s", criText(err))
	}
	return nil
}

// weigh adjusts the weight of the burstable class after one of its pods came or
// went. It is no reason not to run a pod.
func (k *Kubelet) weigh(pod *v1.Pod) {
	if classFolder(pod) != folderBurstable {
		return
	}
	if err := k.cgroups.weigh(k.admission.list()); err != nil {
		k.log.Warn("weighing burstable pods", "err", err)
	}
}

// sandboxConfig is the pod as the CRI describes it.
func (k *Kubelet) sandboxConfig(pod *v1.Pod, attempt int) (*runtimeapi.PodSandboxConfig, error) {
	hostname, err := k.kernelName(pod)
	if err != nil {
		return nil, err
	}
	users, err := k.podUsers(pod)
	if err != nil {
		return nil, err
	}
	dns, _ := k.resolver.config(pod)
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: uint32(attempt)},
		Hostname:     hostname,
		LogDirectory: k.logDir(pod),
		DnsConfig:    dns,
		Labels:       sandboxLabels(pod),
		Annotations:  maps.Clone(pod.Annotations),
		Linux:        k.linuxSandbox(pod, users),
	}
	if !pod.Spec.HostNetwork {
		config.PortMappings = portMappings(pod)
	} else {
		config.Hostname = "" // the node's own
	}
	return config, nil
}

func sandboxLabels(pod *v1.Pod) map[string]string {
	labels := maps.Clone(pod.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[kubelettypes.KubernetesPodNameLabel] = pod.Name
	labels[kubelettypes.KubernetesPodNamespaceLabel] = pod.Namespace
	labels[kubelettypes.KubernetesPodUIDLabel] = string(pod.UID)
	return labels
}

func (k *Kubelet) linuxSandbox(pod *v1.Pod, users *runtimeapi.UserNamespace) *runtimeapi.LinuxPodSandboxConfig {
	security := &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: namespaceOptions(pod, users),
		Privileged:       anyPrivileged(pod),
		Seccomp:          &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
	}
	linux := &runtimeapi.LinuxPodSandboxConfig{
		CgroupParent:    k.cgroups.parent(pod),
		SecurityContext: security,
		Sysctls:         map[string]string{},
		Resources:       podResources(pod),
		Overhead:        overheadResources(pod),
	}
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return linux
	}
	for _, s := range sc.Sysctls {
		linux.Sysctls[s.Name] = s.Value
	}
	if sc.RunAsUser != nil {
		security.RunAsUser = &runtimeapi.Int64Value{Value: *sc.RunAsUser}
	}
	if sc.RunAsGroup != nil && sc.RunAsUser != nil {
		security.RunAsGroup = &runtimeapi.Int64Value{Value: *sc.RunAsGroup}
	}
	security.SupplementalGroups = supplementalGroups(pod)
	security.SupplementalGroupsPolicy = groupsPolicy(pod)
	security.SelinuxOptions = selinux(sc.SELinuxOptions)
	return linux
}

// namespaceOptions says which namespaces of the pod are the node's, the pod's or
// each container's own.
func namespaceOptions(pod *v1.Pod, users *runtimeapi.UserNamespace) *runtimeapi.NamespaceOption {
	o := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER, UsernsOptions: users}
	if pod.Spec.HostNetwork {
		o.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		o.Ipc = runtimeapi.NamespaceMode_NODE
	}
	switch {
	case pod.Spec.HostPID:
		o.Pid = runtimeapi.NamespaceMode_NODE
	case pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace:
		o.Pid = runtimeapi.NamespaceMode_POD
	}
	return o
}

func anyPrivileged(pod *v1.Pod) bool {
	found := false
	everyContainer(pod, func(c *v1.Container) {
		found = found || c.SecurityContext != nil && isTrue(c.SecurityContext.Privileged)
	})
	return found
}

// eachContainer visits init and app containers in order.
func eachContainer(pod *v1.Pod, visit func(*v1.Container)) {
	for i := range pod.Spec.InitContainers {
		visit(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		visit(&pod.Spec.Containers[i])
	}
}

// everyContainer visits those, and ephemeral ones.
func everyContainer(pod *v1.Pod, visit func(*v1.Container)) {
	eachContainer(pod, visit)
	for i := range pod.Spec.EphemeralContainers {
		visit((*v1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

// portMappings are the host ports of app containers and sidecars.
func portMappings(pod *v1.Pod) []*runtimeapi.PortMapping {
	var all []*runtimeapi.PortMapping
	eachContainer(pod, func(c *v1.Container) {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			all = append(all, &runtimeapi.PortMapping{
				Protocol: protocol(p.Protocol), ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP,
			})
		}
	})
	return all
}

func protocol(p v1.Protocol) runtimeapi.Protocol {
	switch p {
	case v1.ProtocolUDP:
		return runtimeapi.Protocol_UDP
	case v1.ProtocolSCTP:
		return runtimeapi.Protocol_SCTP
	default:
		return runtimeapi.Protocol_TCP
	}
}

// hostname is the pod's host name and, if it has a subdomain, its domain. A name
// longer than a DNS label is cut, as upstream does.
func (k *Kubelet) hostname(pod *v1.Pod) (host, domain string) {
	if override := pod.Spec.HostnameOverride; override != nil {
		return cutName(*override), ""
	}
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, k.deps.ClusterDomain)
	}
	return cutName(cmp.Or(pod.Spec.Hostname, pod.Name)), domain
}

func cutName(name string) string {
	if len(name) > hostnameMax {
		return strings.TrimRight(name[:hostnameMax], "-.")
	}
	return name
}

// kernelName is what the pod's processes see as their host name: with
// setHostnameAsFQDN, and a domain, the full name.
func (k *Kubelet) kernelName(pod *v1.Pod) (string, error) {
	host, domain := k.hostname(pod)
	if domain == "" || !isTrue(pod.Spec.SetHostnameAsFQDN) {
		return host, nil
	}
	full := host + "." + domain
	if len(full) > fullNameMax {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)", full, fullNameMax, len(full))
	}
	return full, nil
}

// runtimeHandler is the handler that the pod's RuntimeClass names.
func (k *Kubelet) runtimeHandler(ctx context.Context, pod *v1.Pod) (string, error) {
	name := pod.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return "", nil
	}
	class, err := k.deps.Client.NodeV1().RuntimeClasses().Get(ctx, *name, getOptions)
	if err != nil {
		return "", fmt.Errorf("getting RuntimeClass %q: %w", *name, err)
	}
	return class.Handler, nil
}

// Paths of a pod on the node.

func (k *Kubelet) podDir(uid string) string { return filepath.Join(k.deps.DataDir, "pods", uid) }

func (k *Kubelet) logDir(pod *v1.Pod) string {
	return filepath.Join(k.deps.LogDir, fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID))
}

func (k *Kubelet) messagePath(uid, container string, attempt int) string {
	return filepath.Join(k.podDir(uid), "containers", container, fmt.Sprintf("termination-%d", attempt))
}
