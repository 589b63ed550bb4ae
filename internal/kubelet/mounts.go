package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kubelet/volume"
)

const (
	etcHosts    = "/etc/hosts"
	devTermLog  = "/dev/termination-log"
	messageMode = 0o666 // any user of the container may write its last words
)

// mounts are a container's volumes, its /etc/hosts and its termination message;
// images are the references of volumes that are images.
func (k *Kubelet) mounts(pod *v1.Pod, c *v1.Container, attempt int, env []variable, images map[string]string, ips []string) ([]*runtimeapi.Mount, error) {
	var all []*runtimeapi.Mount
	for i := range c.VolumeMounts {
		m, err := k.volumeMount(pod, c, i, env, images)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	if !mountsAt(c, etcHosts) {
		path, err := k.writeHosts(pod, ips)
		if err != nil {
			return nil, err
		}
		all = append(all, &runtimeapi.Mount{ContainerPath: etcHosts, HostPath: path, SelinuxRelabel: true})
	}
	message, err := k.messageMount(pod, c, attempt)
	if err != nil {
		return nil, err
	}
	return append(all, message), nil
}

func mountsAt(c *v1.Container, path string) bool {
	for _, m := range c.VolumeMounts {
		if filepath.Clean(m.MountPath) == path {
			return true
		}
	}
	return false
}

// messageMount is the file that carries the container's termination message.
func (k *Kubelet) messageMount(pod *v1.Pod, c *v1.Container, attempt int) (*runtimeapi.Mount, error) {
	path := k.messagePath(string(pod.UID), c.Name, attempt)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("making termination message of container %s: %w", c.Name, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, messageMode)
	if err != nil {
		return nil, fmt.Errorf("making termination message of container %s: %w", c.Name, err)
	}
	defer f.Close()
	if err := f.Chmod(messageMode); err != nil { // the umask took something away
		return nil, fmt.Errorf("making termination message of container %s: %w", c.Name, err)
	}
	at := c.TerminationMessagePath
	if at == "" {
		at = devTermLog
	}
	return &runtimeapi.Mount{ContainerPath: at, HostPath: path, SelinuxRelabel: true}, nil
}

// volumeMount is the i-th volume mount of a container.
func (k *Kubelet) volumeMount(pod *v1.Pod, c *v1.Container, i int, env []variable, images map[string]string) (*runtimeapi.Mount, error) {
	vm := &c.VolumeMounts[i]
	v := findVolume(pod, vm.Name)
	if v == nil {
		return nil, fmt.Errorf("volume %q of container %s is not defined", vm.Name, c.Name)
	}
	target := vm.MountPath
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	m := &runtimeapi.Mount{
		ContainerPath:     target,
		Readonly:          vm.ReadOnly || volume.AlwaysReadOnly(v),
		RecursiveReadOnly: recursiveReadOnly(vm),
		Propagation:       propagation(vm.MountPropagation),
		SelinuxRelabel:    true,
	}
	sub, err := subPath(vm, env)
	if err != nil {
		return nil, err
	}
	if v.Image != nil {
		m.Image = &runtimeapi.ImageSpec{Image: images[v.Name], UserSpecifiedImage: v.Image.Reference}
		m.ImageSubPath = sub
		return m, nil
	}
	m.HostPath = k.volumes.Path(string(pod.UID), v)
	if sub != "" {
		m.HostPath, err = k.volumes.SubPath(pod, v, c.Name, i, sub)
	}
	return m, err
}

// recursiveReadOnly reports whether what is mounted below a volume is read-only,
// too. The container layer can always do that, so what is possible is done.
func recursiveReadOnly(vm *v1.VolumeMount) bool {
	return vm.RecursiveReadOnly != nil && *vm.RecursiveReadOnly != v1.RecursiveReadOnlyDisabled
}

// subPath is the part of the volume that is wanted, with variables expanded.
func subPath(vm *v1.VolumeMount, env []variable) (string, error) {
	sub := vm.SubPath
	if vm.SubPathExpr != "" {
		sub = expandAll([]string{vm.SubPathExpr}, env)[0]
		if strings.Contains(sub, "$(") {
			return "", fmt.Errorf("failed to expand subPathExpr %q: a variable in it is not set", vm.SubPathExpr)
		}
	}
	if filepath.IsAbs(sub) {
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
	}
	for part := range strings.SplitSeq(sub, "/") {
		if part == ".." {
			return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", sub)
		}
	}
	return sub, nil
}

func propagation(p *v1.MountPropagationMode) runtimeapi.MountPropagation {
	switch {
	case p == nil:
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
	case *p == v1.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case *p == v1.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	default:
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
	}
}

func findVolume(pod *v1.Pod, name string) *v1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}

// writeHosts writes the pod's /etc/hosts and returns its path. All containers of
// the pod share the file; a restarted one must find the same inode there, so an
// existing file is written in place.
func (k *Kubelet) writeHosts(pod *v1.Pod, ips []string) (string, error) {
	path := filepath.Join(k.podDir(string(pod.UID)), "etc-hosts")
	host, domain := k.hostname(pod)
	var text string
	if pod.Spec.HostNetwork {
		node, err := os.ReadFile(etcHosts)
		if err != nil && !os.IsNotExist(err) {
			return "", fmt.Errorf("reading the node's hosts: %w", err)
		}
		text = "# Kubernetes-managed hosts file (host network).\n" + string(node) + hostAliases(pod.Spec.HostAliases)
	} else {
		text = hostsFile(ips, host, domain) + hostAliases(pod.Spec.HostAliases)
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("making hosts file of pod %s: %w", podName(pod), err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("writing hosts file of pod %s: %w", podName(pod), err)
	}
	return path, nil
}

// hostsFile is the hosts file of a pod with its own network.
func hostsFile(ips []string, host, domain string) string {
	var b strings.Builder
	b.WriteString("# Kubernetes-managed hosts file.\n")
	b.WriteString("127.0.0.1\tlocalhost\n")
	b.WriteString("::1\tlocalhost ip6-localhost ip6-loopback\n")
	b.WriteString("fe00::0\tip6-localnet\n")
	b.WriteString("fe00::0\tip6-mcastprefix\n")
	b.WriteString("fe00::1\tip6-allnodes\n")
	b.WriteString("fe00::2\tip6-allrouters\n")
	for _, ip := range ips {
		if domain != "" {
			fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, host, domain, host)
		} else {
			fmt.Fprintf(&b, "%s\t%s\n", ip, host)
		}
	}
	return b.String()
}

func hostAliases(aliases []v1.HostAlias) string {
	if len(aliases) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n# Entries added by HostAliases.\n")
	for _, a := range aliases {
		fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
	}
	return b.String()
}
