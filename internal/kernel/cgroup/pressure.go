package cgroup

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Pressure tells how much processes wait for a resource (PSI, Linux 4.20; per cgroup in v2).
type Pressure struct {
	CPU, Memory, IO Stalls
}

// Stalls are the waits for one resource. Some: at least one task waited. Full: none could run.
type Stalls struct {
	Some Stall `json:"some"`
	Full Stall `json:"full"`
}

// Stall is the share of time, in percent, over the last 10, 60 and 300 seconds, and the sum.
type Stall struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"` // us
}

// Pressure reads that of "cpu", "memory" or "io". It is nil on version 1, and where the kernel does not measure it.
func (m *Manager) Pressure(of string) *Stalls {
	if !m.Layout.V2 {
		return nil
	}
	if s, ok := stalls(m.dirs[0], of+".pressure"); ok {
		return &s
	}
	return nil
}

func readPressure(dir string) *Pressure {
	cpu, ok1 := stalls(dir, "cpu.pressure")
	memory, ok2 := stalls(dir, "memory.pressure")
	io, ok3 := stalls(dir, "io.pressure")
	if !ok1 && !ok2 && !ok3 {
		return nil
	}
	return &Pressure{CPU: cpu, Memory: memory, IO: io}
}

// stalls reads lines "some avg10=0.00 avg60=0.00 avg300=0.00 total=0".
func stalls(dir, file string) (Stalls, bool) {
	text, err := read(dir, file)
	if err != nil {
		return Stalls{}, false
	}
	return parseStalls(text), true
}

func parseStalls(text string) Stalls {
	var out Stalls
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		var st Stall
		for _, kv := range w[1:] {
			k, v, _ := strings.Cut(kv, "=")
			switch k {
			case "avg10":
				st.Avg10, _ = strconv.ParseFloat(v, 64)
			case "avg60":
				st.Avg60, _ = strconv.ParseFloat(v, 64)
			case "avg300":
				st.Avg300, _ = strconv.ParseFloat(v, 64)
			case "total":
				st.Total, _ = strconv.ParseUint(v, 10, 64)
			}
		}
		switch w[0] {
		case "some":
			out.Some = st
		case "full":
			out.Full = st
		}
	}
	return out
}

// HugePages are those of one size, in bytes.
type HugePages struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"` // the highest usage so far
	Failcnt uint64 `json:"failcnt"`
}

// HugePages reads the use of huge pages by their size, such as "2MB". It is nil without the controller.
func (m *Manager) HugePages() map[string]HugePages {
	dir, usage := m.Dir("hugetlb"), ".usage_in_bytes"
	if m.Layout.V2 {
		usage = ".current"
	}
	files, err := filepath.Glob(filepath.Join(dir, "hugetlb.*"+usage))
	if dir == "" || err != nil || len(files) == 0 {
		return nil
	}
	out := map[string]HugePages{}
	for _, f := range files {
		stem := strings.TrimSuffix(filepath.Base(f), usage)
		size := strings.TrimPrefix(stem, "hugetlb.")
		if strings.HasSuffix(size, ".rsvd") {
			continue
		}
		h := HugePages{Usage: number(dir, stem+usage)}
		if m.Layout.V2 {
			h.Failcnt = table(dir, stem+".events")["max"]
		} else {
			h.Max, h.Failcnt = number(dir, stem+".max_usage_in_bytes"), number(dir, stem+".failcnt")
		}
		out[size] = h
	}
	return out
}
