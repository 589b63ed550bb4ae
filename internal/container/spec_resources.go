package container

import (
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// addResources sets the limits at the container's start.
func addResources(spec *specs.Spec, r *runtimeapi.LinuxContainerResources, host hostFacts) {
	if r == nil {
		return
	}
	devices := spec.Linux.Resources.Devices
	limits := convertResources(r, host)
	limits.Devices = devices
	spec.Linux.Resources = limits
	score := int(r.GetOomScoreAdj())
	spec.Process.OOMScoreAdj = &score
}

// convertResources translates the CRI's limits; zero means "leave as it is".
func convertResources(r *runtimeapi.LinuxContainerResources, host hostFacts) *specs.LinuxResources {
	out := &specs.LinuxResources{Unified: r.GetUnified()}
	cpu := &specs.LinuxCPU{Cpus: r.GetCpusetCpus(), Mems: r.GetCpusetMems()}
	if v := r.GetCpuPeriod(); v > 0 {
		period := uint64(v)
		cpu.Period = &period
	}
	if v := r.GetCpuQuota(); v != 0 {
		cpu.Quota = &v
	}
	if v := r.GetCpuShares(); v > 0 {
		shares := uint64(v)
		cpu.Shares = &shares
	}
	out.CPU = cpu
	if limit := max(r.GetMemoryLimitInBytes(), -1); limit != 0 { // below zero, as for a quota: none
		out.Memory = &specs.LinuxMemory{Limit: &limit}
		if host.swap {
			// Memory plus swap. Without a word from above: no swap.
			swap := limit
			if v := r.GetMemorySwapLimitInBytes(); v != 0 {
				swap = v
			}
			out.Memory.Swap = &swap
		}
	}
	if host.hugetlb {
		for _, h := range r.GetHugepageLimits() {
			out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.GetPageSize(), Limit: h.GetLimit()})
		}
	}
	return out
}

// undoResources are the limits of before an update. What it sets and was not set gets what the kernel gives a new cgroup;
// only CPUs and nodes of memory that were not chosen stay with the new choice.
func undoResources(old, update *runtimeapi.LinuxContainerResources, host hostFacts) *specs.LinuxResources {
	out := convertResources(old, host)
	if update.GetCpuPeriod() > 0 && out.CPU.Period == nil {
		out.CPU.Period = new(uint64(cpuPeriod))
	}
	if update.GetCpuQuota() != 0 && out.CPU.Quota == nil {
		out.CPU.Quota = new(int64(-1))
	}
	if update.GetCpuShares() > 0 && out.CPU.Shares == nil {
		out.CPU.Shares = new(uint64(cpuShares))
	}
	if update.GetMemoryLimitInBytes() != 0 && out.Memory == nil {
		out.Memory = &specs.LinuxMemory{Limit: new(int64(-1))}
		if host.swap {
			out.Memory.Swap = new(int64(-1))
		}
	}
	return out
}

// What a cgroup has whose limits nobody has set.
const (
	cpuPeriod = 100000
	cpuShares = 1024
)

// readHost reads what specifications depend on.
func readHost() hostFacts {
	facts := hostFacts{devices: nodeDevices}
	layout, err := cgroup.Detect()
	if err != nil {
		return facts
	}
	facts.cgroupV2 = layout.V2
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }
	if layout.V2 {
		facts.swap = exists("/proc/swaps")
		facts.hugetlb = exists("/sys/kernel/mm/hugepages")
		return facts
	}
	facts.swap = exists(filepath.Join(cgroup.Root, "memory/memory.memsw.limit_in_bytes"))
	facts.hugetlb = exists(filepath.Join(cgroup.Root, "hugetlb"))
	return facts
}

// mergeResources keeps the old value of each limit that the new ones do not name.
func mergeResources(old, update *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	out := &runtimeapi.LinuxContainerResources{}
	if old != nil {
		out = proto.CloneOf(old)
	}
	// In proto3 a scalar that is zero is not set: merging copies what is.
	if update.GetHugepageLimits() != nil {
		out.HugepageLimits = nil
	}
	if update != nil {
		proto.Merge(out, update)
	}
	return out
}
