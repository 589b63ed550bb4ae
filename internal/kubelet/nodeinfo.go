package kubelet

import (
	"context"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	skiffversion "go.skiff.dev/skiff/internal/version"
)

// systemInfo says what the node runs on.
func (k *Kubelet) systemInfo() v1.NodeSystemInfo {
	info := v1.NodeSystemInfo{
		MachineID:               machineID(),
		SystemUUID:              firstOf(readLine("/sys/class/dmi/id/product_uuid"), machineID()),
		BootID:                  readLine("/proc/sys/kernel/random/boot_id"),
		KernelVersion:           kernelRelease(),
		OSImage:                 osImage(),
		ContainerRuntimeVersion: "skiff://" + k.deps.Version,
		KubeletVersion:          skiffversion.Kubernetes + "+skiff." + k.deps.Version,
		KubeProxyVersion:        "",
		OperatingSystem:         runtime.GOOS,
		Architecture:            runtime.GOARCH,
	}
	if swap := memInfo("SwapTotal"); swap > 0 {
		info.Swap = &v1.NodeSwapStatus{Capacity: &swap}
	}
	return info
}

func machineID() string {
	return firstOf(readLine("/etc/machine-id"), readLine("/var/lib/dbus/machine-id"))
}

func readLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "Unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// osImage is os-release's PRETTY_NAME (os-release(5)).
func osImage() string {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && name == "PRETTY_NAME" {
				return strings.Trim(value, `"'`)
			}
		}
	}
	return "Linux"
}

// Bounds of the node's list of images, as upstream.
const (
	maxImages     = 50
	maxImageNames = 5
)

// images lists the images on the node, the largest first as the container layer
// gives them.
func (k *Kubelet) images(ctx context.Context) []v1.ContainerImage {
	list, err := k.deps.Images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		k.log.Warn("listing images", "err", criText(err))
		return nil
	}
	var all []v1.ContainerImage
	for _, image := range list.GetImages() {
		names := append(append([]string{}, image.GetRepoDigests()...), image.GetRepoTags()...)
		if len(names) == 0 {
			continue
		}
		all = append(all, v1.ContainerImage{Names: names[:min(len(names), maxImageNames)], SizeBytes: int64(image.GetSize())})
	}
	sortImages(all)
	return all[:min(len(all), maxImages)]
}

// addresses are the node's addresses and its name.
func (k *Kubelet) addresses() []v1.NodeAddress {
	var all []v1.NodeAddress
	for _, ip := range k.deps.NodeIPs {
		all = append(all, v1.NodeAddress{Type: v1.NodeInternalIP, Address: ip.String()})
	}
	return append(all, v1.NodeAddress{Type: v1.NodeHostName, Address: k.deps.NodeName})
}
