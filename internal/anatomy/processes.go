package anatomy

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// Process is one process of a part.
type Process struct {
	PID int `json:"pid"`
	// InnerPID is its number in its own pid namespace.
	InnerPID int    `json:"innerPid"`
	Parent   int    `json:"parent"`
	Depth    int    `json:"depth"`
	Command  string `json:"command"`
	UID      int    `json:"uid"`
}

// processesIn lists the processes of a cgroup and of those below it.
func processesIn(path string) []int {
	manager, err := cgroup.New(path)
	if err != nil {
		return nil
	}
	pids, err := manager.Procs()
	if err != nil {
		return nil
	}
	return pids
}

// tree reads the processes and puts parents before their children.
func tree(pids []int) []Process {
	known := map[int]Process{}
	for _, pid := range pids {
		if p, ok := readProcess(pid); ok {
			known[pid] = p
		}
	}
	var list []Process
	var place func(parent, depth int)
	place = func(parent, depth int) {
		var children []int
		for pid, p := range known {
			_, hasParent := known[p.Parent]
			if p.Parent == parent || (parent == 0 && !hasParent) {
				children = append(children, pid)
			}
		}
		slices.Sort(children)
		for _, pid := range children {
			p := known[pid]
			p.Depth = depth
			list = append(list, p)
			place(pid, depth+1)
		}
	}
	place(0, 0)
	return list
}

// readProcess reads /proc/PID/status and cmdline (proc_pid_status(5)).
func readProcess(pid int) (Process, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Process{}, false
	}
	p := Process{PID: pid, InnerPID: pid}
	for line := range strings.SplitSeq(string(status), "\n") {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		switch key {
		case "Name":
			p.Command = fields[0]
		case "PPid":
			p.Parent = number(fields[0])
		case "Uid":
			p.UID = number(fields[0])
		case "NSpid":
			p.InnerPID = number(fields[len(fields)-1])
		}
	}
	if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(cmdline) > 0 {
		p.Command = strings.TrimSpace(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
	}
	return p, true
}

// number reads a number of a kernel file; what the kernel writes is one.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
