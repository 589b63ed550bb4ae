package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func setBlkioV1(_ *Manager, dir string, r *specs.LinuxResources) error {
	b := r.BlockIO
	if b == nil {
		return nil
	}
	if err := checkWeights(b); err != nil {
		return err
	}
	weight := "blkio.weight"
	if _, err := os.Lstat(dir + "/blkio.bfq.weight"); err == nil {
		weight = "blkio.bfq.weight"
	}
	if err := put(dir, weight, nonzero(b.Weight)); err != nil {
		return err
	}
	if err := put(dir, "blkio.leaf_weight", nonzero(b.LeafWeight)); err != nil {
		return err
	}
	for _, w := range b.WeightDevice {
		dev := fmt.Sprintf("%d:%d ", w.Major, w.Minor)
		if w.Weight != nil && *w.Weight != 0 {
			if err := put(dir, weight+"_device", dev+text(w.Weight)); err != nil {
				return err
			}
		}
		if w.LeafWeight != nil && *w.LeafWeight != 0 {
			if err := put(dir, "blkio.leaf_weight_device", dev+text(w.LeafWeight)); err != nil {
				return err
			}
		}
	}
	for _, t := range throttles(b) {
		for _, d := range t.devices {
			if err := put(dir, t.v1, fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate)); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkWeights holds the weights to runtime-spec's range ("linux.resources.blockIO"): one below it would turn into a
// huge one on version 2's scale. 0 leaves a weight as it is.
func checkWeights(b *specs.LinuxBlockIO) error {
	all := []*uint16{b.Weight, b.LeafWeight}
	for _, d := range b.WeightDevice {
		all = append(all, d.Weight, d.LeafWeight)
	}
	for _, w := range all {
		if w != nil && *w != 0 && (*w < MinWeight || *w > MaxWeight) {
			return fmt.Errorf("weight %d is not between %d and %d", *w, MinWeight, MaxWeight)
		}
	}
	return nil
}

type throttle struct {
	v1, v2  string
	devices []specs.LinuxThrottleDevice
}

func throttles(b *specs.LinuxBlockIO) []throttle {
	return []throttle{
		{"blkio.throttle.read_bps_device", "rbps", b.ThrottleReadBpsDevice},
		{"blkio.throttle.write_bps_device", "wbps", b.ThrottleWriteBpsDevice},
		{"blkio.throttle.read_iops_device", "riops", b.ThrottleReadIOPSDevice},
		{"blkio.throttle.write_iops_device", "wiops", b.ThrottleWriteIOPSDevice},
	}
}

func setIOv2(_ *Manager, dir string, r *specs.LinuxResources) error {
	b := r.BlockIO
	if b == nil {
		return nil
	}
	if err := checkWeights(b); err != nil {
		return err
	}
	if b.Weight != nil && *b.Weight != 0 {
		err := put(dir, "io.bfq.weight", text(b.Weight))
		if errors.Is(err, os.ErrNotExist) {
			err = put(dir, "io.weight", strconv.FormatUint(IOWeight(*b.Weight), 10))
		}
		if err != nil {
			return err
		}
	}
	for _, w := range b.WeightDevice {
		if w.Weight == nil || *w.Weight == 0 {
			continue
		}
		if err := put(dir, "io.bfq.weight", fmt.Sprintf("%d:%d %d", w.Major, w.Minor, *w.Weight)); err != nil {
			return err
		}
	}
	for _, t := range throttles(b) {
		for _, d := range t.devices {
			rate := strconv.FormatUint(d.Rate, 10)
			if d.Rate == 0 {
				rate = "max"
			}
			if err := put(dir, "io.max", fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, t.v2, rate)); err != nil {
				return err
			}
		}
	}
	return nil
}
