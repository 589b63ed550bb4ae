package oci

import (
	"context"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/internal/kernel/cgroup"
)

// StatePaused is runc's addition to the states that the specification names.
const StatePaused specs.ContainerState = "paused"

// Container is one container on this machine.
type Container struct {
	ID  string
	Dir string // its own state directory
	// Init is the first process. After Load its Console is nil.
	Init *Process

	rec  record
	spec *specs.Spec
	cg   *cgroup.Manager
}

// State is what `skiff-oci state` prints, and a little more.
type State struct {
	specs.State
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	Owner   string    `json:"owner"`
}

// Stats is a snapshot of the container's cgroup. Zero where the kernel has no such number.
type Stats struct {
	Time          time.Time
	CPUUsage      uint64 // ns
	CPUUser       uint64 // ns
	CPUSystem     uint64 // ns
	CPUThrottled  uint64 // ns
	Periods       uint64
	ThrottledPer  uint64
	MemoryUsage   uint64 // bytes, with page cache
	MemoryWorking uint64 // usage minus inactive file pages, the kubelet's measure
	MemoryRSS     uint64 // anonymous bytes
	MemoryLimit   uint64 // 0: none
	SwapUsage     uint64
	PageFaults    uint64
	MajorFaults   uint64
	PIDs          uint64
	PIDLimit      uint64 // 0: none
	OOMKills      uint64
	IO            []IOStat
}

// IOStat is one block device's counters.
type IOStat struct {
	Major, Minor          uint64
	ReadBytes, WriteBytes uint64
	Reads, Writes         uint64
}

// List finds all containers below stateDir; what cannot be read is left out and named in the error.
func List(stateDir string) ([]*Container, error) { return nil, errNotThere }

// Spec is the configuration the container was created with.
func (c *Container) Spec() (*specs.Spec, error) {
	if c.spec != nil {
		return c.spec, nil
	}
	return c.loadSpec()
}

// Pids lists the processes of the container's cgroup in the caller's pid namespace.
func (c *Container) Pids() ([]int, error) { return c.cg.Procs() }

// Pause freezes every process, Resume thaws them.
func (c *Container) Pause() error { return c.cg.Freeze() }

// Resume undoes Pause.
func (c *Container) Resume() error { return c.cg.Thaw() }

// Update changes the cgroup's limits while the container runs; fields that are nil stay as they are.
func (c *Container) Update(r *specs.LinuxResources) error { return errNotThere }

// Stats reads the cgroup.
func (c *Container) Stats() (Stats, error) { return Stats{}, errNotThere }

// OOMKills counts the processes of this container that the kernel killed for want of memory.
// It can still be read after init has ended, until Delete.
func (c *Container) OOMKills() (uint64, error) { return 0, errNotThere }

// WatchOOM calls f with the count of OOM kills each time it grows, until the context ends or the cgroup is removed.
// It returns once the watch is armed.
func (c *Container) WatchOOM(ctx context.Context, f func(kills uint64)) error { return errNotThere }

// CgroupPath is the container's cgroup below the hierarchy's root, as in /proc/PID/cgroup.
func (c *Container) CgroupPath() string { return c.rec.Cgroup }

// PauseMain is the role "pause": it holds a pod's namespaces, reaps orphans when it is pid 1 and ends on TERM or INT.
func PauseMain(args []string) int { return 0 }
