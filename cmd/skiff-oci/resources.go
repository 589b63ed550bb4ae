package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
)

func (a *app) update(args []string) (int, error) {
	fs := newFlags("update")
	file := fs.String("resources", "", "")
	fs.StringVar(file, "r", "", "")
	for _, f := range resourceFlags(complete(&specs.LinuxResources{})) {
		fs.String(f.name, "", "")
	}
	if err := a.parse(fs, args, 1, 1); err != nil {
		return 1, err
	}
	r := &specs.LinuxResources{}
	if err := readResources(*file, r); err != nil {
		return 1, err
	}
	if err := a.flagResources(fs, complete(r)); err != nil {
		return 1, err
	}
	c, err := a.load(fs.Arg(0))
	if err != nil {
		return 1, err
	}
	if st, err := c.Status(); err != nil || st == specs.StateStopped {
		return 1, errors.Join(err, fmt.Errorf("updating container %q: container not running", c.ID))
	}
	return 0, c.Update(r)
}

// complete makes the parts that flags write to.
func complete(r *specs.LinuxResources) *specs.LinuxResources {
	fill(&r.CPU)
	fill(&r.Memory)
	fill(&r.Pids)
	fill(&r.BlockIO)
	return r
}

func fill[T any](p **T) {
	if *p == nil {
		*p = new(T)
	}
}

// readResources reads the file that the flags are put on top of.
func readResources(file string, r *specs.LinuxResources) error {
	if file == "" {
		return nil
	}
	in := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	if err := json.NewDecoder(in).Decode(r); err != nil {
		return fmt.Errorf("reading resources: %w", err)
	}
	return nil
}

// resourceFlag is one flag of update and where its value goes.
type resourceFlag struct {
	name string
	set  func(string) error
}

func resourceFlags(r *specs.LinuxResources) []resourceFlag {
	cpu, mem := r.CPU, r.Memory
	return []resourceFlag{
		{"cpu-period", into(&cpu.Period, unsigned)},
		{"cpu-quota", into(&cpu.Quota, signed)},
		{"cpu-burst", into(&cpu.Burst, unsigned)},
		{"cpu-share", into(&cpu.Shares, unsigned)},
		{"cpu-rt-period", into(&cpu.RealtimePeriod, unsigned)},
		{"cpu-rt-runtime", into(&cpu.RealtimeRuntime, signed)},
		{"cpu-idle", into(&cpu.Idle, signed)},
		{"cpuset-cpus", func(v string) error { cpu.Cpus = v; return nil }},
		{"cpuset-mems", func(v string) error { cpu.Mems = v; return nil }},
		{"memory", into(&mem.Limit, size)},
		{"memory-reservation", into(&mem.Reservation, size)},
		{"memory-swap", into(&mem.Swap, size)},
		{"pids-limit", into(&r.Pids.Limit, signed)},
		{"blkio-weight", into(&r.BlockIO.Weight, weight)},
		{"kernel-memory", nil}, // the kernel has no such limits any more (Linux 5.4, 6.1)
		{"kernel-memory-tcp", nil},
		{"l3-cache-schema", noRDT},
		{"mem-bw-schema", noRDT},
	}
}

// flagResources puts the flags on top of what the file said.
func (a *app) flagResources(fs *flag.FlagSet, r *specs.LinuxResources) error {
	for _, f := range resourceFlags(r) {
		v := fs.Lookup(f.name).Value.String()
		if v == "" {
			continue
		}
		if f.set == nil {
			a.warn(fmt.Sprintf("--%s is ignored: kernel memory is part of memory", f.name))
			continue
		}
		if err := f.set(v); err != nil {
			return fmt.Errorf("invalid value for --%s: %q: %w", f.name, v, err)
		}
	}
	return nil
}

func into[T any](p **T, read func(string) (T, error)) func(string) error {
	return func(v string) error {
		n, err := read(v)
		if err == nil {
			*p = &n
		}
		return err
	}
}

func noRDT(string) error { return errors.New("Intel RDT is not supported") }

func unsigned(v string) (uint64, error) {
	n, err := strconv.ParseUint(v, 10, 64)
	return n, errors.Unwrap(err)
}

func signed(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	return n, errors.Unwrap(err)
}

// weight is 0, which changes nothing, or in the specification's range.
func weight(v string) (uint16, error) {
	n, err := unsigned(v)
	if err == nil && n != 0 && (n < cgroup.MinWeight || n > cgroup.MaxWeight) {
		err = fmt.Errorf("%d to %d are allowed", cgroup.MinWeight, cgroup.MaxWeight)
	}
	return uint16(n), err
}
