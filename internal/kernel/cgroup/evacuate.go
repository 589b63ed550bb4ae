package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// evacuated is where Evacuate moves processes to.
const evacuated = "init"

// Evacuate makes the root of a cgroup namespace able to hand controllers down. In a container with cgroup v2 that root
// is an ordinary cgroup and the container's processes are in it, and a cgroup with processes of its own hands nothing
// down ("no internal processes", Documentation/admin-guide/cgroup-v2.rst): they move to a leaf beside what is made
// later. It returns how many moved. On a host, whose root is exempt from the rule, and on version 1 it does nothing.
func Evacuate() (int, error) {
	l, err := Detect()
	if err != nil || !l.V2 {
		return 0, err
	}
	return evacuate(l.Hierarchies[0].Mount)
}

func evacuate(root string) (int, error) {
	// The true root has no type.
	if _, err := os.Lstat(filepath.Join(root, "cgroup.type")); err != nil {
		return 0, nil
	}
	moved := 0
	// A process may fork between the reading and the moving.
	for range 100 {
		pids, err := ownProcs(root)
		if err != nil || len(pids) == 0 {
			return moved, err
		}
		leaf := filepath.Join(root, evacuated)
		if err := unix.Mkdir(leaf, 0o755); err != nil && err != unix.EEXIST {
			return moved, &os.PathError{Op: "mkdir", Path: leaf, Err: err}
		}
		for _, pid := range pids {
			err := write(leaf, "cgroup.procs", strconv.Itoa(pid))
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return moved, fmt.Errorf("moving process %d out of the way: %w", pid, err)
			}
			moved++
		}
	}
	return moved, fmt.Errorf("moving processes out of %s: new ones come faster", root)
}

// ownProcs lists the processes of dir itself that this pid namespace can see; others are told as 0.
func ownProcs(dir string) ([]int, error) {
	text, err := read(dir, "cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for line := range strings.Lines(text) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
