package anatomy

import (
	"fmt"
	"os"

	"go.skiff.dev/skiff/internal/kernel/namespace"
	"go.skiff.dev/skiff/internal/kernel/thread"
)

// self asks for the namespaces of this process, which are the host's.
const self = 0

// inodesOf reads the namespaces of a process by the names of /proc/PID/ns.
// The map is empty when the process is gone.
func inodesOf(pid int) map[string]uint64 {
	inodes := map[string]uint64{}
	for _, kind := range namespace.Kinds() {
		if inode := namespace.Inode(pid, kind); inode != 0 {
			inodes[kind.File] = inode
		}
	}
	return inodes
}

// hostnameOf reads the name that the processes of pid's UTS namespace see.
func hostnameOf(pid int) (string, error) {
	kind, _ := namespace.ByType("uts")
	file, err := namespace.Open(fmt.Sprintf("/proc/%d/ns/uts", pid), kind)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return thread.Apart(func() (string, error) {
		if err := namespace.Enter(int(file.Fd()), kind.Flag); err != nil {
			return "", fmt.Errorf("entering the pod's uts namespace: %w", err)
		}
		return os.Hostname()
	})
}
