package oci

import (
	"context"
	"fmt"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

// StatePaused is runc's addition to the states that the specification names.
const StatePaused specs.ContainerState = "paused"

// Container is one container on this machine.
type Container struct {
	ID  string
	Dir string // its own state directory
	// Init is the first process. After Load its Console is nil.
	Init *Process
	// Warn hears what went wrong and stops nothing, such as a poststop hook that fails. It may be nil.
	Warn func(string)

	rec      record
	spec     *specs.Spec
	cg       *cgroup.Manager
	straight bool  // init goes on by itself
	starter  *wire // on which init waits for Start; nil: at its socket in Dir
}

// State is what `skiff-oci state` prints, and a little more.
type State struct {
	specs.State
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	Owner   string    `json:"owner"`
}

// Stats is a snapshot of the container's cgroup.
type Stats = cgroup.Stats

// Spec is the configuration the container was created with.
func (c *Container) Spec() (*specs.Spec, error) {
	if c.spec != nil {
		return c.spec, nil
	}
	return c.loadSpec()
}

// StartTicks is when init was started, in clock ticks since boot (field 22 of /proc/PID/stat).
func (c *Container) StartTicks() uint64 { return c.rec.Start }

// Pids lists the processes of the container's cgroup in the caller's pid namespace.
func (c *Container) Pids() ([]int, error) { return c.cg.Procs() }

// Pause freezes every process, Resume thaws them.
func (c *Container) Pause() error { return c.cg.Freeze() }

// Resume undoes Pause.
func (c *Container) Resume() error { return c.cg.Thaw() }

// Update changes the cgroup's limits while the container runs, all or none; fields that are nil stay as they are.
func (c *Container) Update(r *specs.LinuxResources) error {
	err := c.updateUnit(r)
	if err == nil {
		err = c.cg.Change(r)
	}
	if err != nil {
		return fmt.Errorf("updating container %q: %w", c.ID, err)
	}
	return nil
}

// Stats reads the cgroup.
func (c *Container) Stats() (Stats, error) { return c.cg.Stats() }

// Detail is what a cgroup of version 1 counts beside Stats; nil on version 2.
func (c *Container) Detail() *cgroup.Detail { return c.cg.Detail() }

// Pressure is how long the container's processes waited for "cpu", "memory" or "io"; nil where nobody measures it.
func (c *Container) Pressure(of string) *cgroup.Stalls { return c.cg.Pressure(of) }

// HugePages is the use of huge pages by their size.
func (c *Container) HugePages() map[string]cgroup.HugePages { return c.cg.HugePages() }

// OOMKills counts the processes of this container that the kernel killed for want of memory.
// It can still be read after init has ended, until Delete.
func (c *Container) OOMKills() (uint64, error) { return c.cg.OOMKills() }

// WatchOOM calls f with the count of OOM kills each time it grows, until the context ends or the cgroup is removed.
// It returns once the watch is armed.
func (c *Container) WatchOOM(ctx context.Context, f func(kills uint64)) error {
	return c.cg.WatchOOM(ctx, f)
}

// CgroupPath is the container's cgroup below the hierarchy's root, as in /proc/PID/cgroup.
func (c *Container) CgroupPath() string { return c.rec.Cgroup }
