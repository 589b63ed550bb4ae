package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func (a *app) update(args []string) (int, error) {
	fs := newFlags("update")
	file := fs.String("resources", "", "")
	fs.StringVar(file, "r", "", "")
	for _, n := range []string{"blkio-weight", "cpu-period", "cpu-quota", "cpu-burst", "cpu-share", "cpu-rt-period",
		"cpu-rt-runtime", "cpuset-cpus", "cpuset-mems", "memory", "memory-reservation", "memory-swap", "pids-limit",
		"cpu-idle", "kernel-memory", "kernel-memory-tcp", "l3-cache-schema", "mem-bw-schema"} {
		fs.String(n, "", "")
	}
	if helped, err := a.parse(fs, args, 1, 1); helped || err != nil {
		return 1, err
	}
	r, err := readResources(*file)
	if err != nil {
		return 1, err
	}
	if err := flagResources(fs, r); err != nil {
		return 1, err
	}
	c, err := a.load(fs.Arg(0))
	if err != nil {
		return 1, err
	}
	return 0, c.Update(r)
}

func readResources(file string) (*specs.LinuxResources, error) {
	r := &specs.LinuxResources{}
	if file == "" {
		return r, nil
	}
	in := io.Reader(os.Stdin)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	if err := json.NewDecoder(in).Decode(r); err != nil {
		return nil, fmt.Errorf("reading resources: %w", err)
	}
	return r, nil
}

// flagResources puts the flags on top of what the file said.
func flagResources(fs *flag.FlagSet, r *specs.LinuxResources) (err error) {
	cpu, mem := &specs.LinuxCPU{}, &specs.LinuxMemory{}
	if r.CPU != nil {
		cpu = r.CPU
	}
	if r.Memory != nil {
		mem = r.Memory
	}
	fs.Visit(func(f *flag.Flag) {
		v := f.Value.String()
		if v == "" || err != nil {
			return
		}
		switch f.Name {
		case "cpu-period":
			cpu.Period, err = unsigned(f.Name, v)
		case "cpu-quota":
			cpu.Quota, err = signed(f.Name, v)
		case "cpu-burst":
			cpu.Burst, err = unsigned(f.Name, v)
		case "cpu-share":
			cpu.Shares, err = unsigned(f.Name, v)
		case "cpu-rt-period":
			cpu.RealtimePeriod, err = unsigned(f.Name, v)
		case "cpu-rt-runtime":
			cpu.RealtimeRuntime, err = signed(f.Name, v)
		case "cpu-idle":
			cpu.Idle, err = signed(f.Name, v)
		case "cpuset-cpus":
			cpu.Cpus = v
		case "cpuset-mems":
			cpu.Mems = v
		case "memory":
			mem.Limit, err = size(f.Name, v)
		case "memory-reservation":
			mem.Reservation, err = size(f.Name, v)
		case "memory-swap":
			mem.Swap, err = size(f.Name, v)
		case "pids-limit":
			var n *int64
			n, err = signed(f.Name, v)
			r.Pids = &specs.LinuxPids{Limit: n}
		case "blkio-weight":
			var n *uint64
			if n, err = unsigned(f.Name, v); err == nil {
				w := uint16(*n)
				r.BlockIO = &specs.LinuxBlockIO{Weight: &w}
			}
		case "l3-cache-schema", "mem-bw-schema":
			err = fmt.Errorf("--%s: Intel RDT is not supported", f.Name)
		}
	})
	r.CPU, r.Memory = cpu, mem
	return err
}

func unsigned(name, v string) (*uint64, error) {
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("invalid value for --%s: %q", name, v)
	}
	return &n, nil
}

func signed(name, v string) (*int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("invalid value for --%s: %q", name, v)
	}
	return &n, nil
}

// size takes bytes, with k, m, g or t for powers of 1024; -1 is no limit.
func size(name, v string) (*int64, error) {
	num, unit := v, int64(1)
	for i, u := range []string{"kK", "mM", "gG", "tT"} {
		if l := len(v); l > 1 && (v[l-1] == u[0] || v[l-1] == u[1]) {
			num, unit = v[:l-1], int64(1)<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || n < -1 || n > 0 && n > (1<<63-1)/unit {
		return nil, fmt.Errorf("invalid value for --%s: %q", name, v)
	}
	n *= unit
	return &n, nil
}
