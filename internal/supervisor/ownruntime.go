package supervisor

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/oci"
)

// ownRuntime is a container of package oci that is read from its state when something is asked of it: most containers are
// never looked at again before their end, and there may be hundreds. What has lost its state can be ended and removed by its
// cgroup.
type ownRuntime struct{ dir, id, cgroup string }

func (r ownRuntime) with(f func(*oci.Container) error) error {
	c, err := oci.Load(r.dir, r.id)
	if err != nil {
		return err
	}
	defer c.Init.Close()
	return f(c)
}

func (r ownRuntime) Start(ctx context.Context) error {
	return r.with(func(c *oci.Container) error { return c.Start(ctx) })
}

func (r ownRuntime) Kill(sig unix.Signal, all bool) error {
	c, err := oci.Load(r.dir, r.id)
	if err == nil {
		defer c.Init.Close()
		return c.Kill(sig, all)
	}
	if sig != unix.SIGKILL || r.cgroup == "" {
		return err
	}
	cg, err := cgroup.New(r.cgroup)
	if err != nil {
		return err
	}
	return cg.Kill(sig)
}

func (r ownRuntime) Delete(force bool) error {
	c, err := oci.Load(r.dir, r.id)
	if err == nil {
		defer c.Init.Close()
		return c.Delete(force)
	}
	if r.cgroup != "" {
		cg, err := cgroup.New(r.cgroup)
		if err == nil {
			err = errors.Join(cg.Kill(unix.SIGKILL), cg.Destroy())
		}
		if err != nil {
			return err
		}
	}
	return os.RemoveAll(filepath.Join(r.dir, r.id))
}

func (r ownRuntime) Update(limits *specs.LinuxResources) error {
	return r.with(func(c *oci.Container) error { return c.Update(limits) })
}

func (r ownRuntime) Pids() (all []int, err error) {
	err = r.with(func(c *oci.Container) (err error) { all, err = c.Pids(); return err })
	return all, err
}

// OOMKills is asked at each end.
func (r ownRuntime) OOMKills() (n uint64, err error) {
	if path.IsAbs(r.cgroup) {
		cg, err := cgroup.New(r.cgroup)
		if err != nil {
			return 0, err
		}
		return cg.OOMKills()
	}
	err = r.with(func(c *oci.Container) (err error) { n, err = c.OOMKills(); return err })
	return n, err
}

func (r ownRuntime) Exec(ctx context.Context, o oci.ExecOptions) (p *oci.Process, err error) {
	err = r.with(func(c *oci.Container) (err error) { p, err = c.Exec(ctx, o); return err })
	return p, err
}
