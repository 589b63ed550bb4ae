package kubelet

import (
	"fmt"
	"path"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubectl/pkg/util/qos"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// cgroups places the pods in skiff's cgroup subtree, as upstream places them
// under kubepods: guaranteed pods directly in it, others in a folder of their
// class, so that a class is weighed as a whole: all best-effort pods together
// get the smallest share, all burstable ones what they asked for.
//
// The pod's own cgroup, with the limits of the whole pod, is made before its
// sandbox and removed after it; the container layer makes those below.
type cgroups struct {
	root string

	once   sync.Once
	layout cgroup.Layout
	err    error
}

// Folders of the classes that have one.
const (
	folderBestEffort = "besteffort"
	folderBurstable  = "burstable"
)

// parent is the cgroup of a pod, below which its containers get theirs.
func (c *cgroups) parent(pod *v1.Pod) string {
	return path.Join(c.root, classFolder(pod), "pod"+string(pod.UID))
}

func classFolder(pod *v1.Pod) string {
	switch qos.GetPodQOS(pod) {
	case v1.PodQOSBestEffort:
		return folderBestEffort
	case v1.PodQOSBurstable:
		return folderBurstable
	default:
		return ""
	}
}

func (c *cgroups) manager(at string) (*cgroup.Manager, error) {
	layout, err := c.detect()
	if err != nil {
		return nil, fmt.Errorf("reading the cgroup layout: %w", err)
	}
	return cgroup.NewIn(layout, at)
}

func (c *cgroups) detect() (cgroup.Layout, error) {
	c.once.Do(func() { c.layout, c.err = cgroup.Detect() })
	return c.layout, c.err
}

// unified is what a container's cgroup gets on version 2 only: a container over
// its memory limit dies as a whole, not one process of it (upstream's
// singleProcessOOMKill=false, its default there since 1.28). Without that, a
// container whose worker was killed goes on as if nothing had happened.
func (c *cgroups) unified() map[string]string {
	if layout, err := c.detect(); err != nil || !layout.V2 {
		return nil
	}
	return map[string]string{"memory.oom.group": "1"}
}

// start makes the folders of the classes.
func (c *cgroups) start() error {
	least := uint64(sharesLeast)
	for _, folder := range []string{folderBestEffort, folderBurstable} {
		m, err := c.manager(path.Join(c.root, folder))
		if err != nil {
			return err
		}
		if err := m.Create(); err != nil {
			return err
		}
		if err := m.Set(&specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &least}}); err != nil {
			return fmt.Errorf("weighing class %s: %w", folder, err)
		}
	}
	return nil
}

// ensure makes a pod's cgroup and sets its limits.
func (c *cgroups) ensure(pod *v1.Pod) error {
	m, err := c.manager(c.parent(pod))
	if err != nil {
		return err
	}
	if err := m.Create(); err != nil {
		return err
	}
	if err := m.Set(ociResources(podResources(pod))); err != nil {
		return fmt.Errorf("limiting pod %s: %w", podName(pod), err)
	}
	return nil
}

// sizes are the limits that a cgroup has.
func (c *cgroups) sizes(at string) (sizes, error) {
	st, err := c.stats(at)
	if err != nil {
		return sizes{}, err
	}
	s := sizes{shares: int64(st.CPUShares), memory: int64(st.MemoryLimit)}
	if st.CPUPeriod > 0 {
		s.quota = int64(st.CPUQuota * cpuPeriod / st.CPUPeriod)
	}
	return s, nil
}

func (c *cgroups) stats(at string) (cgroup.Stats, error) {
	m, err := c.manager(at)
	if err != nil {
		return cgroup.Stats{}, err
	}
	return m.Stats()
}

// resize changes the limits of a pod's cgroup, all or none.
func (c *cgroups) resize(pod *v1.Pod, to sizes) error {
	m, err := c.manager(c.parent(pod))
	if err != nil {
		return err
	}
	r := to.request()
	shares, period := uint64(r.GetCpuShares()), uint64(r.GetCpuPeriod())
	quota, memory := r.GetCpuQuota(), r.GetMemoryLimitInBytes()
	err = m.Change(&specs.LinuxResources{
		CPU:    &specs.LinuxCPU{Shares: &shares, Quota: &quota, Period: &period},
		Memory: &specs.LinuxMemory{Limit: &memory},
	})
	if err != nil {
		return fmt.Errorf("limiting pod %s: %w", podName(pod), err)
	}
	return nil
}

// remove removes a pod's cgroup. The class of a pod that skiff knows no more of
// than its identifier is not known: all places are looked at.
func (c *cgroups) remove(uid string) error {
	for _, folder := range []string{"", folderBurstable, folderBestEffort} {
		m, err := c.manager(path.Join(c.root, folder, "pod"+uid))
		if err != nil {
			return err
		}
		if m.Exists() {
			if err := m.Destroy(); err != nil {
				return fmt.Errorf("removing cgroup of pod %s: %w", uid, err)
			}
		}
	}
	return nil
}

// weigh gives the burstable class the share that its pods asked for together.
func (c *cgroups) weigh(pods []*v1.Pod) error {
	milli := int64(0)
	for _, pod := range pods {
		if classFolder(pod) == folderBurstable {
			requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
			milli += requests.Cpu().MilliValue()
		}
	}
	m, err := c.manager(path.Join(c.root, folderBurstable))
	if err != nil {
		return err
	}
	shares := uint64(milliToShares(milli))
	return m.Set(&specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}})
}

// ociResources says the same in the runtime specification's words.
func ociResources(r *runtimeapi.LinuxContainerResources) *specs.LinuxResources {
	shares, period := uint64(r.GetCpuShares()), uint64(r.GetCpuPeriod())
	out := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	if quota := r.GetCpuQuota(); quota > 0 {
		out.CPU.Quota, out.CPU.Period = &quota, &period
	}
	if limit := r.GetMemoryLimitInBytes(); limit > 0 {
		out.Memory = &specs.LinuxMemory{Limit: &limit}
	}
	return out
}
