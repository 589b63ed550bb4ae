package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Kill sends sig to every process below the cgroup. With SIGKILL it does not stop before none is left that could fork:
// cgroup.kill (v2, Linux 5.14) does it at once; else the cgroup is frozen while the signals are sent.
func (m *Manager) Kill(sig unix.Signal) error {
	if sig == unix.SIGKILL && m.Layout.V2 {
		if err := write(m.dirs[0], "cgroup.kill", "1"); err == nil || errors.Is(err, os.ErrNotExist) && !m.Exists() {
			return nil
		}
	}
	if sig != unix.SIGKILL {
		return m.signal(sig)
	}
	pids, err := m.Procs()
	if err != nil || len(pids) == 0 {
		return err
	}
	frozen := m.freeze(true) == nil
	err = m.signal(sig)
	if frozen {
		err = errors.Join(err, m.freeze(false))
	}
	return err
}

func (m *Manager) signal(sig unix.Signal) error {
	pids, err := m.Procs()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if e := unix.Kill(pid, sig); e != nil && e != unix.ESRCH {
			err = errors.Join(err, fmt.Errorf("signalling process %d: kill: %w", pid, e))
		}
	}
	return err
}

// DestroyEmpty removes a cgroup that nobody should be in any more and that has none below it, or nothing.
func (m *Manager) DestroyEmpty() bool {
	first := m.Dir("pids")
	if first == "" || unix.Rmdir(first) != nil {
		return false
	}
	for _, d := range m.dirs {
		if err := unix.Rmdir(d); err != nil && err != unix.ENOENT {
			return false
		}
	}
	return true
}

// Destroy removes the cgroup and those below it. Its processes must be dead or dying: a dying one keeps the directory
// busy for an instant that no event announces on v1, so this retries with growing pauses, for at most two seconds.
func (m *Manager) Destroy() error {
	var last error
	for pause := 100 * time.Microsecond; pause < time.Second; pause *= 2 {
		last = nil
		for _, d := range m.dirs {
			if err := removeTree(d); err != nil {
				last = err
			}
		}
		if last == nil || !errors.Is(last, unix.EBUSY) {
			break
		}
		time.Sleep(pause) //nolint:forbidigo // see above: no event
	}
	return last
}

func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	es, rerr := os.ReadDir(dir)
	if rerr != nil {
		if errors.Is(rerr, os.ErrNotExist) {
			return nil
		}
		return rerr
	}
	below := false
	for _, e := range es {
		if e.IsDir() {
			below = true
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if below {
		err = unix.Rmdir(dir)
	}
	if err == nil || err == unix.ENOENT {
		return nil
	}
	return fmt.Errorf("removing cgroup %q: rmdir: %w", dir, err)
}
