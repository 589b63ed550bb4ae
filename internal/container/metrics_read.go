package container

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// interfaceCounters are one network interface's.
type interfaceCounters struct {
	name                                    string
	rxBytes, rxPackets, rxErrors, rxDropped uint64
	txBytes, txPackets, txErrors, txDropped uint64
}

// readInterfaces reads the interfaces of a process's network namespace, but lo.
// It is nil when the process is gone.
func readInterfaces(pid int) []interfaceCounters {
	data, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "net/dev"))
	if err != nil {
		return nil
	}
	out := []interfaceCounters{}
	for line := range strings.Lines(string(data)) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || len(f) < 16 || name == "lo" {
			continue // the two lines of headings, or lo
		}
		n := func(i int) uint64 {
			v, _ := strconv.ParseUint(f[i], 10, 64)
			return v
		}
		out = append(out, interfaceCounters{
			name: name, rxBytes: n(0), rxPackets: n(1), rxErrors: n(2), rxDropped: n(3),
			txBytes: n(8), txPackets: n(9), txErrors: n(10), txDropped: n(11),
		})
	}
	return out
}

// processCounters are of all processes of a container.
type processCounters struct {
	count, files, sockets uint64
	// maxFiles is the first process's soft limit of open files.
	maxFiles uint64
}

func readProcesses(rec *containerRecord) *processCounters {
	m, err := cgroup.New(rec.CgroupPath)
	if err != nil {
		return nil
	}
	pids, err := m.Procs()
	if err != nil {
		return nil
	}
	out := &processCounters{count: uint64(len(pids))}
	for _, pid := range pids {
		dir := filepath.Join("/proc", itoa(pid), "fd")
		// Processes come and go while they are counted.
		entries, _ := os.ReadDir(dir)
		out.files += uint64(len(entries))
		for _, e := range entries {
			if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(target, "socket:") {
				out.sockets++
			}
		}
	}
	var limit unix.Rlimit
	if unix.Prlimit(rec.PID, unix.RLIMIT_NOFILE, nil, &limit) == nil {
		out.maxFiles = limit.Cur
	}
	return out
}

// diskCounters are of a writable layer and the file system that it is on.
type diskCounters struct {
	// device is MAJOR:MINOR.
	device                         string
	used, size, inodes, inodesFree uint64
}

func readDisk(dir string, since time.Time) *diskCounters {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Statfs(dir, &fs) != nil || unix.Stat(dir, &st) != nil {
		return nil
	}
	used, _ := diskUsage(dir, since)
	device := itoa(int(unix.Major(st.Dev))) + ":" + itoa(int(unix.Minor(st.Dev)))
	return &diskCounters{device: device, used: used, size: fs.Blocks * uint64(fs.Bsize), inodes: fs.Files, inodesFree: fs.Ffree}
}
