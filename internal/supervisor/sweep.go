package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
)

// sweep removes containers that were half made when the supervisor was killed, of whatever runtime: their create was never
// answered, and they have no record. All that lies in these directories is the supervisor's own, and nobody else is making
// anything there. Nobody waits for it, because a process may not end and another runtime may hang; the ids stay taken
// meanwhile.
func (s *server) sweep() {
	for id := range s.unfinished() {
		e := &entry{exited: make(chan struct{})}
		e.rec.ID = id
		s.mu.Lock()
		s.entries[id] = e // invisible, as it is never published
		s.mu.Unlock()
		go func() {
			defer s.forget(e)
			if err := errors.Join(s.sweepForeign(id), s.sweepOwn(id), s.records.remove(id)); err != nil {
				s.log.Warn("unfinished container not removed", "container", id, "err", err)
			}
		}()
	}
}

// unfinished are the ids of which there is something, and no record that could be read.
func (s *server) unfinished() map[string]bool {
	ids := map[string]bool{}
	for dir, suffixes := range map[string][]string{s.ociDir: {""}, s.foreignDir(""): {""}, s.records.dir: {".pipes", ".json"}} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.log.Warn("unfinished containers not looked for", "err", err)
		}
		for _, suffix := range suffixes {
			for _, d := range entries {
				if id, ok := strings.CutSuffix(d.Name(), suffix); ok && validID(id) && !s.known(id) {
					ids[id] = true
				}
			}
		}
	}
	return ids
}

// sweepOwn removes what package oci has of it.
func (s *server) sweepOwn(id string) error {
	c, err := oci.Load(s.ociDir, id)
	if err == nil {
		defer c.Init.Close()
		return c.Delete(true)
	}
	if errors.Is(err, oci.ErrNotFound) {
		return oci.RemoveUnfinished(s.ociDir, id)
	}
	return err
}

// sweepForeign removes the bundle for another runtime, and what the runtime has of it or is about to make.
func (s *server) sweepForeign(id string) error {
	dir := s.foreignDir(id)
	plan, err := os.OpenFile(filepath.Join(dir, "plan.json"), os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) { // the runtime was not called
		return os.RemoveAll(dir)
	}
	if err != nil {
		return err
	}
	defer plan.Close()
	if err := endMonitor(plan); err != nil {
		return err
	}
	f, err := s.planned(id, plan)
	if err == nil {
		err = f.Delete(true)
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// planned is the container that a monitor was to make.
func (s *server) planned(id string, plan *os.File) (*foreign, error) {
	p, spec := &monitorPlan{}, &specs.Spec{}
	err := json.NewDecoder(plan).Decode(p)
	if err == nil {
		err = readJSON(filepath.Join(s.foreignDir(id), "config.json"), spec)
	}
	if err != nil {
		return nil, err
	}
	rec := &record{Container: Container{ID: id}, Runtime: p.Runtime}
	if spec.Linux != nil {
		rec.CgroupPath = spec.Linux.CgroupsPath
	}
	return s.foreign(rec)
}

// endMonitor ends the monitor that has a plan, if one has, and keeps others from taking it until the file is closed.
func endMonitor(plan *os.File) error {
	for {
		err := unix.FcntlFlock(plan.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return os.NewSyscallError("fcntl F_OFD_SETLK", err)
		}
		pid, err := lockHolder(plan)
		if err != nil {
			return err
		}
		if pid == 0 { // it has just ended
			continue
		}
		if err := killHolder(plan, pid); err != nil {
			return err
		}
	}
}

// lockHolder is the process that has a file locked, 0 if none has.
func lockHolder(f *os.File) (int, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil {
		return 0, os.NewSyscallError("fcntl F_GETLK", err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, nil
	}
	return int(lock.Pid), nil
}

func killHolder(f *os.File, pid int) error {
	process, err := pidfd.Open(pid, 0)
	if errors.Is(err, pidfd.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer process.Close()
	if now, err := lockHolder(f); err != nil || now != pid { // the pid may be another's by now
		return err
	}
	if err := pidfd.Signal(process, unix.SIGKILL); err != nil && !errors.Is(err, pidfd.ErrGone) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTime)
	defer cancel()
	return oci.WaitGone(ctx, process)
}
