package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func setCPUv1(_ *Manager, dir string, r *specs.LinuxResources) error {
	c := r.CPU
	if c == nil {
		return nil
	}
	if err := put(dir, "cpu.idle", text(c.Idle)); err != nil {
		return err
	}
	if !idle(c) {
		if err := putShares(dir, c); err != nil {
			return err
		}
	}
	return errors.Join(setQuotaV1(dir, c), setRealtimeV1(dir, nonzero(c.RealtimePeriod), nonzero(c.RealtimeRuntime)))
}

// setRealtimeV1 finds the order in which the kernel takes the two: the runtime may never be longer than the period.
func setRealtimeV1(dir, period, runtime string) error {
	err := put(dir, "cpu.rt_period_us", period)
	if errors.Is(err, unix.EINVAL) && runtime != "" {
		if err := put(dir, "cpu.rt_runtime_us", runtime); err != nil {
			return err
		}
		return put(dir, "cpu.rt_period_us", period)
	}
	if err != nil {
		return err
	}
	return put(dir, "cpu.rt_runtime_us", runtime)
}

// idle tells whether the group becomes idle: the kernel refuses shares and weights of those.
func idle(c *specs.LinuxCPU) bool { return c.Idle != nil && *c.Idle == 1 }

func putShares(dir string, c *specs.LinuxCPU) error {
	if err := put(dir, "cpu.shares", nonzero(c.Shares)); err != nil || nonzero(c.Shares) == "" {
		return err
	}
	// The kernel clamps silently; say so instead.
	got := number(dir, "cpu.shares")
	switch {
	case *c.Shares > got:
		return fmt.Errorf("the maximum allowed cpu-shares is %d", got)
	case *c.Shares < got:
		return fmt.Errorf("the minimum allowed cpu-shares is %d", got)
	}
	return nil
}

// setQuotaV1 writes period, quota and burst in an order that the kernel's checks (quota of a parent, burst <= quota)
// accept: when a new period does not fit the old quota, the quota comes first.
func setQuotaV1(dir string, c *specs.LinuxCPU) error {
	const period, quota, burst = "cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.cfs_burst_us"
	if c.Burst != nil && *c.Burst < number(dir, burst) {
		if err := put(dir, burst, text(c.Burst)); err != nil {
			return err
		}
	}
	again := false
	if p := nonzero(c.Period); p != "" {
		err := put(dir, period, p)
		again = err != nil && nonzero(c.Quota) != ""
		if err != nil && !again {
			return err
		}
	}
	if err := put(dir, quota, nonzero(c.Quota)); err != nil {
		return err
	}
	if again {
		if err := put(dir, period, text(c.Period)); err != nil {
			return err
		}
	}
	return put(dir, burst, text(c.Burst))
}

func setCPUv2(_ *Manager, dir string, r *specs.LinuxResources) error {
	c := r.CPU
	if c == nil {
		return nil
	}
	if err := put(dir, "cpu.idle", text(c.Idle)); err != nil {
		return err
	}
	if nonzero(c.Shares) != "" && !idle(c) {
		if err := put(dir, "cpu.weight", strconv.FormatUint(Weight(*c.Shares), 10)); err != nil {
			return err
		}
	}
	if c.Burst != nil && *c.Burst < number(dir, "cpu.max.burst") {
		if err := put(dir, "cpu.max.burst", text(c.Burst)); err != nil {
			return err
		}
	}
	now, _ := read(dir, "cpu.max") // without the controller put says what is wrong
	if err := put(dir, "cpu.max", cpuMax(c, now)); err != nil {
		return err
	}
	return put(dir, "cpu.max.burst", text(c.Burst))
}

// cpuMax is "QUOTA PERIOD". Without a period the kernel keeps the one it has; a quota has to be there, so that a period
// alone takes the one of now, the file's content.
func cpuMax(c *specs.LinuxCPU, now string) string {
	q, p := nonzero(c.Quota), nonzero(c.Period)
	switch {
	case c.Quota != nil && *c.Quota < 0:
		q = "max"
	case q == "" && p != "":
		q = "max"
		if old, _, _ := strings.Cut(now, " "); old != "" {
			q = old
		}
	}
	return strings.TrimSpace(q + " " + p)
}
