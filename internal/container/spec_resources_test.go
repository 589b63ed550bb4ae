package container

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestNoLimitAgain: below zero a limit is taken away, and zero leaves it.
func TestNoLimitAgain(t *testing.T) {
	host := hostFacts{swap: true}
	r := convertResources(&runtimeapi.LinuxContainerResources{CpuQuota: -1, CpuPeriod: 100000, MemoryLimitInBytes: -1, MemorySwapLimitInBytes: -1}, host)
	if *r.CPU.Quota != -1 || *r.Memory.Limit != -1 || *r.Memory.Swap != -1 {
		t.Errorf("quota %d, memory %d, with swap %d", *r.CPU.Quota, *r.Memory.Limit, *r.Memory.Swap)
	}
	if r := convertResources(&runtimeapi.LinuxContainerResources{}, host); r.CPU.Quota != nil || r.Memory != nil {
		t.Errorf("nothing sets %+v %+v", r.CPU, r.Memory)
	}
	undo := undoResources(&runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 5}, &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: -1}, host)
	if *undo.Memory.Limit != 5 || *undo.Memory.Swap != 5 {
		t.Errorf("put back: %+v", undo.Memory)
	}
}
