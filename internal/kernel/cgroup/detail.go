package cgroup

import (
	"strconv"
	"strings"
)

// Detail is what version 1 counts beside Stats.
type Detail struct {
	PerCPU []uint64 // ns
	Limit  uint64   // of memory, however high
	Swap   Count    // memory and swap together
}

// Count is a use of memory, in bytes.
type Count struct{ Usage, Max, Limit, Fails uint64 }

// Detail reads it; nil: the controllers are of version 2.
func (m *Manager) Detail() *Detail {
	if m.Layout.V2 || len(m.dirs) == 0 {
		return nil
	}
	out := &Detail{}
	if dir := m.Dir("cpuacct"); dir != "" {
		text, _ := read(dir, "cpuacct.usage_percpu")
		out.PerCPU = numbers(text)
	}
	if dir := m.Dir("memory"); dir != "" {
		for file, to := range map[string]*uint64{"usage": &out.Swap.Usage, "max_usage": &out.Swap.Max, "limit": &out.Swap.Limit} {
			*to = first(dir, "memory.memsw."+file+"_in_bytes")
		}
		out.Limit = first(dir, "memory.limit_in_bytes")
		out.Swap.Fails = first(dir, "memory.memsw.failcnt")
	}
	return out
}

// first is a number as the kernel writes it, 0 without one.
func first(dir, file string) uint64 {
	text, _ := read(dir, file)
	if all := numbers(text); len(all) > 0 {
		return all[0]
	}
	return 0
}

func numbers(text string) (out []uint64) {
	for word := range strings.FieldsSeq(text) {
		if n, err := strconv.ParseUint(word, 10, 64); err == nil {
			out = append(out, n)
		}
	}
	return out
}
