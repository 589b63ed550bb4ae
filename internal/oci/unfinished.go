package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

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
	err := removeIdle(unfinishedCgroup(dir), patience)
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("removing unfinished container %q: %w", id, err)
	}
	return nil
}

// unfinishedCgroup is the cgroup that was about to be made; nil where it is relative to a caller who is gone, or none was.
func unfinishedCgroup(dir string) *cgroup.Manager {
	p, err := os.Readlink(filepath.Join(dir, cgroupLink))
	if err != nil || !path.IsAbs(p) {
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
