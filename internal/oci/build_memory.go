package oci

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Words of runtime-spec in the order of the kernel's numbers (include/uapi/linux/mempolicy.h).
var memoryModes = [...]specs.MemoryPolicyModeType{
	specs.MpolDefault, specs.MpolPreferred, specs.MpolBind, specs.MpolInterleave, specs.MpolLocal, specs.MpolPreferredMany,
	specs.MpolWeightedInterleave,
}

// maxNodes is what a kernel can be built for (CONFIG_NODES_SHIFT is at most 10).
const maxNodes = 1024

// planMemory translates linux.memoryPolicy into the arguments of set_mempolicy(2).
func planMemory(p *memoryPlan, m *specs.LinuxMemoryPolicy) error {
	if m == nil {
		return nil
	}
	mode := slices.Index(memoryModes[:], m.Mode)
	if mode < 0 {
		return fmt.Errorf("linux.memoryPolicy.mode: invalid memory policy mode %q", m.Mode)
	}
	for _, f := range m.Flags {
		switch f {
		case specs.MpolFNumaBalancing:
			mode |= unix.MPOL_F_NUMA_BALANCING
		case specs.MpolFRelativeNodes:
			mode |= unix.MPOL_F_RELATIVE_NODES
		case specs.MpolFStaticNodes:
			mode |= unix.MPOL_F_STATIC_NODES
		default:
			return fmt.Errorf("linux.memoryPolicy.flags: invalid memory policy flag %q", f)
		}
	}
	nodes, err := nodeSet(m.Nodes)
	if err != nil {
		return fmt.Errorf("linux.memoryPolicy.nodes: %w", err)
	}
	n := 0
	for _, w := range nodes {
		n += bits.OnesCount64(w)
	}
	switch none := m.Mode == specs.MpolDefault || m.Mode == specs.MpolLocal; {
	case none && n > 0:
		return fmt.Errorf("linux.memoryPolicy: mode requires 0 nodes but got %d", n)
	case !none && n == 0 && m.Mode != specs.MpolPreferred:
		return fmt.Errorf("linux.memoryPolicy: mode %s requires at least one node", m.Mode)
	}
	*p = memoryPlan{set: true, mode: mode, nodes: nodes}
	return nil
}

// nodeSet parses "0-3,7" into a mask of 64-bit words.
func nodeSet(list string) ([]uint64, error) {
	var set []uint64
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			hi = lo
		}
		a, err := strconv.ParseUint(lo, 10, 64)
		b, err2 := strconv.ParseUint(hi, 10, 64)
		if err != nil || err2 != nil || b < a || b >= maxNodes {
			return nil, fmt.Errorf("invalid memory policy node list %q", list)
		}
		for ; a <= b; a++ {
			for uint64(len(set)) <= a/64 {
				set = append(set, 0)
			}
			set[a/64] |= 1 << (a % 64)
		}
	}
	return set, nil
}
