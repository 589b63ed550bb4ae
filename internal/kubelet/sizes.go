package kubelet

import (
	"math"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sizes are the limits of a cgroup that a resize changes. Zero quota and zero
// memory mean no limit.
type sizes struct {
	shares, quota, memory int64
}

func sizesOf(r *runtimeapi.LinuxContainerResources) sizes {
	return sizes{shares: r.GetCpuShares(), quota: max(r.GetCpuQuota(), 0), memory: max(r.GetMemoryLimitInBytes(), 0)}
}

// atLeast is the smallest size that neither of the two exceeds.
func (s sizes) atLeast(o sizes) sizes {
	return sizes{shares: max(s.shares, o.shares), quota: higher(s.quota, o.quota), memory: higher(s.memory, o.memory)}
}

func higher(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// lowers reports whether a limit is below an older one, or new.
func lowers(now, was int64) bool { return now != 0 && (was == 0 || now < was) }

// request says the sizes in the CRI's words, in which zero means "leave it" and
// less than zero "no limit".
func (s sizes) request() *runtimeapi.LinuxContainerResources {
	unlimited := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	return &runtimeapi.LinuxContainerResources{
		CpuPeriod: cpuPeriod, CpuShares: s.shares, CpuQuota: unlimited(s.quota),
		MemoryLimitInBytes: unlimited(s.memory), MemorySwapLimitInBytes: unlimited(s.memory),
	}
}

// Below these the kernel's values are all the same: what was asked for is told.
const (
	quotaLeastMilli  = quotaLeast * 1000 / cpuPeriod
	sharesLeastMilli = sharesLeast // upstream compares these two
)

// actual is what of a specification's resources a cgroup has: its own limits where
// it says something else than was asked for.
func (s sizes) actual(asked v1.ResourceRequirements) *v1.ResourceRequirements {
	out := asked.DeepCopy()
	if out.Limits != nil {
		milli := s.quota * 1000 / cpuPeriod
		if asked.Limits.Cpu().MilliValue() > quotaLeastMilli || milli > quotaLeastMilli {
			put(out.Limits, v1.ResourceCPU, milli, resource.NewMilliQuantity(milli, resource.DecimalSI))
		}
		put(out.Limits, v1.ResourceMemory, s.memory, resource.NewQuantity(s.memory, resource.BinarySI))
	}
	if out.Requests != nil && s.shares != 0 {
		milli := int64(math.Ceil(float64(s.shares*1000) / sharesPerCPU))
		if asked.Requests.Cpu().MilliValue() > sharesLeastMilli || milli > sharesLeastMilli {
			put(out.Requests, v1.ResourceCPU, milli, resource.NewMilliQuantity(milli, resource.DecimalSI))
		}
	}
	return out
}

// put sets what a list says of a resource, in its own spelling if the amount is
// the same; no limit takes away what does not say zero.
func put(list v1.ResourceList, name v1.ResourceName, n int64, q *resource.Quantity) {
	old, ok := list[name]
	switch {
	case ok && old.Cmp(*q) == 0:
	case n == 0:
		delete(list, name)
	default:
		list[name] = *q
	}
}
