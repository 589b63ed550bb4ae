package kubelet

import (
	"path"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubectl/pkg/util/qos"
)

// cgroups places the pods in skiff's cgroup subtree, as upstream places them
// under kubepods: guaranteed pods directly in it, others in a folder of their
// class, so that a class can be weighed and bounded as a whole. The container
// layer makes the pod's cgroup and applies the limits of the sandbox's
// configuration to it.
type cgroups struct {
	root string
}

// parent is the cgroup of a pod, below which its containers get theirs.
func (c cgroups) parent(pod *v1.Pod) string {
	return path.Join(c.root, classFolder(pod), "pod"+string(pod.UID))
}

func classFolder(pod *v1.Pod) string {
	switch qos.GetPodQOS(pod) {
	case v1.PodQOSBestEffort:
		return "besteffort"
	case v1.PodQOSBurstable:
		return "burstable"
	default:
		return ""
	}
}
