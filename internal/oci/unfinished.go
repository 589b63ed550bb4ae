package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"go.skiff.dev/skiff/internal/kernel/cgroup"
	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// RemoveUnfinished removes what is left of a container whose creator was killed before it had written the record: the
// directory and the cgroup. Who calls it knows that nobody is making the container now. Nothing is killed: the init that
// may have been cloned ends by itself, because the other end of its socket is closed, and a cgroup in which somebody else
// is stays. It is ErrExists if there is a record: then Load and Delete know more.
func RemoveUnfinished(stateDir, id string) error {
	return removeUnfinished(stateDir, id, killTimeout)
}

func removeUnfinished(stateDir, id string, patience time.Duration) error {
	if err := validID(id); err != nil {
		return err
	}
	dir := filepath.Join(stateDir, id)
	if _, err := os.Lstat(filepath.Join(dir, recordFile)); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("removing unfinished container %q: %w", id, ErrExists))
	}
	err := removeIdle(unfinishedCgroup(dir, id), patience)
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("removing unfinished container %q: %w", id, err)
	}
	return nil
}

// unfinishedCgroup is the cgroup that the configuration asks for; nil where it is relative to a caller who is gone. The
// configuration is whole before the cgroup is made.
func unfinishedCgroup(dir, id string) *cgroup.Manager {
	data, err := os.ReadFile(filepath.Join(dir, specFile))
	var s specs.Spec
	if err != nil || json.Unmarshal(data, &s) != nil {
		return nil
	}
	p := "/" + id
	if s.Linux != nil && s.Linux.CgroupsPath != "" {
		p = s.Linux.CgroupsPath
	}
	if !path.IsAbs(p) {
		return nil
	}
	m, err := cgroup.New(p)
	if err != nil {
		return nil
	}
	return m
}

func removeIdle(m *cgroup.Manager, patience time.Duration) error {
	if m == nil || !m.Exists() {
		return nil
	}
	pids, err := m.Procs()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, pid := range pids {
		f, err := pidfd.Open(pid, 0)
		if err != nil { // gone
			continue
		}
		err = WaitGone(ctx, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("cgroup %q is not empty: process %d is in it", m.Path, pid)
		}
	}
	return m.Destroy()
}
