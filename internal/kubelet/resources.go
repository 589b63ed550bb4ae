package kubelet

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubectl/pkg/util/qos"
)

// Values of the kernel's CPU controller.
const (
	cpuPeriod    = 100000 // microseconds; the kernel's default
	quotaLeast   = 1000   // the kernel takes no less than 1 ms
	sharesPerCPU = 1024
	sharesLeast  = 2
	sharesMost   = 262144
)

// Scores for the kernel's OOM killer by class of service, as upstream: a
// guaranteed pod dies late, a best-effort pod first.
const (
	oomGuaranteed  = -997
	oomBestEffort  = 1000
	oomBurstableLo = 3 // 1000 + oomGuaranteed
	oomBurstableHi = 999
	oomCritical    = -997
)

func milliToShares(milli int64) int64 {
	return min(max(milli*sharesPerCPU/1000, sharesLeast), sharesMost)
}

func milliToQuota(milli int64) int64 {
	if milli == 0 {
		return 0
	}
	return max(milli*cpuPeriod/1000, quotaLeast)
}

// containerResources are a container's limits for the kernel.
func containerResources(pod *v1.Pod, c *v1.Container, nodeMemory int64) *runtimeapi.LinuxContainerResources {
	request, limit := c.Resources.Requests, effectiveLimits(pod, c)
	cpu, ok := request[v1.ResourceCPU]
	if !ok {
		cpu = limit[v1.ResourceCPU]
	}
	r := &runtimeapi.LinuxContainerResources{
		CpuPeriod:   cpuPeriod,
		CpuShares:   milliToShares(cpu.MilliValue()),
		CpuQuota:    milliToQuota(limit.Cpu().MilliValue()),
		OomScoreAdj: oomScore(pod, c, nodeMemory),
	}
	if m := limit.Memory().Value(); m > 0 {
		r.MemoryLimitInBytes = m
		r.MemorySwapLimitInBytes = m // no swap beyond memory
	}
	for name, amount := range limit {
		if size, ok := strings.CutPrefix(string(name), v1.ResourceHugePagesPrefix); ok {
			r.HugepageLimits = append(r.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: hugepageName(size), Limit: uint64(amount.Value())})
		}
	}
	return r
}

// effectiveLimits are a container's limits; where it has none, those of its pod as
// a whole (KEP-2837).
func effectiveLimits(pod *v1.Pod, c *v1.Container) v1.ResourceList {
	if pod.Spec.Resources == nil {
		return c.Resources.Limits
	}
	limits := v1.ResourceList{}
	for _, name := range resizable() {
		if q, ok := pod.Spec.Resources.Limits[name]; ok {
			limits[name] = q
		}
	}
	maps.Copy(limits, c.Resources.Limits)
	return limits
}

// hugepageName turns "2Mi" into the kernel's "2MB".
func hugepageName(size string) string {
	return strings.TrimSuffix(size, "i") + "B"
}

// podResources are the limits of the pod's own cgroup: the sum of its
// containers', each kind only if every container has one.
func podResources(pod *v1.Pod) *runtimeapi.LinuxContainerResources {
	requests, limits := asked(pod), podLimits(pod)
	r := &runtimeapi.LinuxContainerResources{CpuPeriod: cpuPeriod, CpuShares: milliToShares(requests.Cpu().MilliValue())}
	if qos.GetPodQOS(pod) == v1.PodQOSBestEffort {
		r.CpuShares = sharesLeast
	}
	r.CpuQuota = milliToQuota(limits.Cpu().MilliValue())
	r.MemoryLimitInBytes = limits.Memory().Value()
	return r
}

// podLimits are the limits of a pod: those that it has as a whole, and sums of
// what all of its containers have.
func podLimits(pod *v1.Pod) v1.ResourceList {
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range resizable() {
		if own := pod.Spec.Resources; own != nil && !isZero(own.Limits, name) {
			continue
		}
		eachContainer(pod, func(c *v1.Container) {
			if isZero(c.Resources.Limits, name) {
				delete(limits, name)
			}
		})
	}
	return limits
}

func isZero(list v1.ResourceList, name v1.ResourceName) bool {
	q := list[name]
	return q.IsZero()
}

func overheadResources(pod *v1.Pod) *runtimeapi.LinuxContainerResources {
	if len(pod.Spec.Overhead) == 0 {
		return nil
	}
	return &runtimeapi.LinuxContainerResources{
		CpuShares:          milliToShares(pod.Spec.Overhead.Cpu().MilliValue()),
		MemoryLimitInBytes: pod.Spec.Overhead.Memory().Value(),
	}
}

// oomScore is the container's oom_score_adj: the more of the node's memory a
// burstable container asked for, the later it is killed.
func oomScore(pod *v1.Pod, c *v1.Container, nodeMemory int64) int64 {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= systemCriticalPriority {
		return oomCritical
	}
	switch qos.GetPodQOS(pod) {
	case v1.PodQOSGuaranteed:
		return oomGuaranteed
	case v1.PodQOSBestEffort:
		return oomBestEffort
	}
	if nodeMemory == 0 {
		return oomBurstableHi
	}
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/nodeMemory
	return min(max(score, oomBurstableLo), oomBurstableHi)
}

// systemCriticalPriority is where the system's own priority classes start.
const systemCriticalPriority = 2 * 1000000000

// resourceValue resolves a container's resource for the downward API. A limit
// that is not set is the pod's own, or the node's allocatable amount.
func resourceValue(pod *v1.Pod, c *v1.Container, ref *v1.ResourceFieldSelector, node v1.ResourceList) (string, error) {
	if ref.ContainerName != "" {
		if c = findContainer(pod, ref.ContainerName); c == nil {
			return "", fmt.Errorf("container %s not found", ref.ContainerName)
		}
	}
	kind, name, ok := strings.Cut(ref.Resource, ".")
	if !ok {
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	var amount resource.Quantity
	switch kind {
	case "limits":
		if amount = c.Resources.Limits[v1.ResourceName(name)]; amount.IsZero() {
			amount = limitFromAbove(pod, v1.ResourceName(name), node)
		}
	case "requests":
		amount = c.Resources.Requests[v1.ResourceName(name)]
	default:
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	return divided(amount, ref.Divisor, name == string(v1.ResourceCPU)), nil
}

// limitFromAbove is what bounds a container that has no limit of its own. Huge
// pages are not there without one.
func limitFromAbove(pod *v1.Pod, name v1.ResourceName, node v1.ResourceList) resource.Quantity {
	if strings.HasPrefix(string(name), v1.ResourceHugePagesPrefix) {
		return resource.Quantity{}
	}
	if own := pod.Spec.Resources; own != nil && slices.Contains(resizable(), name) && !isZero(own.Limits, name) {
		return own.Limits[name]
	}
	return node[name]
}

// divided is an amount in units of the divisor (1 if none), rounded up.
func divided(amount, divisor resource.Quantity, cpu bool) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if cpu {
		return strconv.FormatInt(int64(math.Ceil(float64(amount.MilliValue())/float64(divisor.MilliValue()))), 10)
	}
	return strconv.FormatInt(int64(math.Ceil(float64(amount.Value())/float64(divisor.Value()))), 10)
}
