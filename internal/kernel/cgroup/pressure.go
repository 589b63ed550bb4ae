package cgroup

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Pressure is how long processes waited for something (Documentation/accounting/psi.rst): some of them, or all at once.
type Pressure struct {
	Some Stall `json:"some"`
	Full Stall `json:"full"`
}

// Stall is a share of the time in percent over the last 10, 60 and 300 seconds, and microseconds in total.
type Stall struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

// Pressure reads that of "cpu", "memory" or "io". It is nil on version 1, and where the kernel does not measure it.
func (m *Manager) Pressure(of string) *Pressure {
	if !m.Layout.V2 {
		return nil
	}
	text, err := read(m.dirs[0], of+".pressure")
	if err != nil {
		return nil
	}
	return parsePressure(text)
}

// parsePressure reads lines such as "some avg10=0.00 avg60=1.50 avg300=0.20 total=1234".
func parsePressure(text string) *Pressure {
	var p Pressure
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		var s Stall
		for word := range strings.FieldsSeq(rest) {
			name, value, _ := strings.Cut(word, "=")
			f, _ := strconv.ParseFloat(value, 64)
			switch name {
			case "avg10":
				s.Avg10 = f
			case "avg60":
				s.Avg60 = f
			case "avg300":
				s.Avg300 = f
			case "total":
				s.Total, _ = strconv.ParseUint(value, 10, 64)
			}
		}
		switch kind {
		case "some":
			p.Some = s
		case "full":
			p.Full = s
		}
	}
	return &p
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
