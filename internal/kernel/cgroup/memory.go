package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func setMemoryV1(_ *Manager, dir string, r *specs.LinuxResources) error {
	mem := r.Memory
	if mem == nil {
		return nil
	}
	if err := checkUsage(mem, number(dir, "memory.usage_in_bytes")); err != nil {
		return err
	}
	if err := limitV1(dir, mem); err != nil {
		return err
	}
	if err := put(dir, "memory.soft_limit_in_bytes", nonzero(mem.Reservation)); err != nil {
		return err
	}
	if err := put(dir, "memory.kmem.tcp.limit_in_bytes", nonzero(mem.KernelTCP)); err != nil {
		return err
	}
	if mem.DisableOOMKiller != nil && *mem.DisableOOMKiller {
		if err := put(dir, "memory.oom_control", "1"); err != nil {
			return err
		}
	}
	return putSwappiness(dir, mem)
}

func putSwappiness(dir string, mem *specs.LinuxMemory) error {
	if mem.Swappiness != nil && *mem.Swappiness > 100 {
		return fmt.Errorf("invalid memory swappiness value: %d (valid range is 0-100)", *mem.Swappiness)
	}
	return put(dir, "memory.swappiness", text(mem.Swappiness))
}

// checkUsage refuses a limit that is used up already, where the configuration asks for that: the kernel would take
// version 2's limit and then kill. The words are runc's.
func checkUsage(mem *specs.LinuxMemory, usage uint64) error {
	if mem.CheckBeforeUpdate == nil || !*mem.CheckBeforeUpdate {
		return nil
	}
	if mem.Swap != nil && *mem.Swap > 0 && uint64(*mem.Swap) <= usage {
		return fmt.Errorf("rejecting memory+swap limit %d <= usage %d", *mem.Swap, usage)
	}
	if mem.Limit != nil && *mem.Limit > 0 && uint64(*mem.Limit) <= usage {
		return fmt.Errorf("rejecting memory limit %d <= usage %d", *mem.Limit, usage)
	}
	return nil
}

// limitV1 writes memory and memory+swap. The kernel wants memory <= memory+swap at every moment, so the one that grows
// out of the other's way comes first. Unlimited memory means unlimited swap unless said otherwise.
func limitV1(dir string, mem *specs.LinuxMemory) error {
	const limit, memsw = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	l, s := nonzero(mem.Limit), nonzero(mem.Swap)
	if l == "-1" && s == "" {
		if _, err := os.Lstat(dir + "/" + memsw); err == nil {
			s = "-1"
		}
	}
	swapFirst := false
	if l != "" && s != "" {
		current := number(dir, memsw) // 0: unlimited
		swapFirst = s == "-1" || current != 0 && uint64(*mem.Swap) > current
	}
	order := [][2]string{{limit, l}, {memsw, s}}
	if swapFirst {
		order[0], order[1] = order[1], order[0]
	}
	for _, o := range order {
		err := put(dir, o[0], o[1])
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unable to set memory limit to %s (current usage: %d, peak usage: %d): %w", o[1],
				number(dir, "memory.usage_in_bytes"), number(dir, "memory.max_usage_in_bytes"), err)
		}
		if o[0] == memsw && errors.Is(err, os.ErrNotExist) {
			continue // swap is not accounted on this machine
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func setMemoryV2(_ *Manager, dir string, r *specs.LinuxResources) error {
	mem := r.Memory
	if mem == nil {
		return nil
	}
	if err := checkUsage(mem, number(dir, "memory.current")); err != nil {
		return err
	}
	if mem.DisableOOMKiller != nil && *mem.DisableOOMKiller {
		return errors.New("disableOOMKiller: cgroup v2 has no such switch")
	}
	swap, err := swapV2(mem, number(dir, "memory.max"))
	if err != nil {
		return err
	}
	// The file is absent where the kernel has no swap, and then there is nothing to limit.
	if err := put(dir, "memory.swap.max", swap); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := put(dir, "memory.max", limitV2(mem.Limit)); err != nil {
		return err
	}
	return put(dir, "memory.low", limitV2(mem.Reservation))
}

func limitV2(v *int64) string {
	switch {
	case v == nil || *v == 0:
		return ""
	case *v < 0:
		return "max"
	}
	return strconv.FormatInt(*v, 10)
}

// swapV2 is swap alone: the configuration counts memory and swap together, as v1 did. now is the limit of memory that
// holds when none is given, 0 for none.
func swapV2(mem *specs.LinuxMemory, now uint64) (string, error) {
	if mem.Swap == nil || *mem.Swap == 0 {
		if mem.Limit != nil && *mem.Limit == -1 {
			return "max", nil
		}
		return "", nil
	}
	if *mem.Swap < 0 {
		return "max", nil
	}
	limit := int64(now)
	if mem.Limit != nil && *mem.Limit != 0 {
		limit = *mem.Limit
	}
	if limit <= 0 {
		return "", errors.New("unable to set swap limit without memory limit")
	}
	if *mem.Swap < limit {
		return "", errors.New("memory+swap limit should be >= memory limit")
	}
	return strconv.FormatInt(*mem.Swap-limit, 10), nil
}
