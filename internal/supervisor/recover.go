package supervisor

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
)

// recover finds the containers of a supervisor that was killed. One bad record
// never stops the rest.
func (s *server) recover() error {
	good, bad, err := s.records.load()
	if err != nil {
		return err
	}
	left, err := leftInflight(s.dir)
	if err != nil {
		s.log.Warn("a log may have a hole or lines twice", "err", err)
	}
	s.left = left
	for _, rec := range good {
		s.adopt(rec)
	}
	for _, f := range s.left { // their containers are gone
		f.close()
	}
	s.left = nil
	s.rebuildDamaged(bad)
	s.sweep()
	return nil
}

// settleInflight finishes what the killed supervisor had begun with one chunk of a container's output, before anything
// else is read of it.
func (s *server) settleInflight(e *entry) {
	flight := s.left[e.rec.ID]
	if flight == nil {
		return
	}
	delete(s.left, e.rec.ID)
	o := e.stdout
	if _, stream := flight.owner(); stream == "stderr" {
		o = e.stderr
	}
	s.outs.writers.do(e.log, func(*writer) {
		defer flight.close()
		if o == nil || o.closed {
			return
		}
		err := e.log.ready()
		if err == nil {
			err = flight.settle(o.fd, e.log)
		}
		if err != nil {
			s.log.Warn("a log may have a hole or lines twice", "container", e.rec.ID, "err", err)
		}
	})
}

// adopt makes a record an entry again.
func (s *server) adopt(rec *record) {
	e := &entry{rec: *rec, exited: make(chan struct{})}
	s.mu.Lock()
	s.entries[rec.ID] = e
	s.seq = max(s.seq, rec.Seq)
	s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	var err error
	e.runc, err = s.load(rec)
	if err != nil && !errors.Is(err, oci.ErrNotFound) {
		s.log.Warn("runtime state not read", "container", rec.ID, "err", err)
	}
	if rec.Phase == PhaseExited {
		s.publish(e)
		close(e.exited)
		return
	}
	if rec.BootID == s.bootID {
		e.pidfd, err = pidfd.Open(rec.watched(), rec.StartTicks)
		if err == nil || !rec.Terminal { // somebody may have held the pipes of one that has ended (Client.Hold)
			if err := s.resumeStreams(e); err != nil {
				s.log.Warn("output of a container is not read", "container", rec.ID, "err", err)
			}
		}
	} else {
		err = pidfd.ErrGone
	}
	if err == nil {
		s.publish(e)
		err = s.watchExit(e)
	}
	if err == nil {
		return
	}
	if rec.Runtime == "" {
		s.settleUnseen(e, err)
		return
	}
	// Another runtime may hang: the exit is told when it is done, as always.
	s.publish(e)
	go func() {
		s.life.RLock()
		defer s.life.RUnlock()
		e.mu.Lock()
		defer e.mu.Unlock()
		s.settleUnseen(e, err)
	}()
}

// settleUnseen ends a container that no supervisor saw the end of. The caller holds e.mu.
func (s *server) settleUnseen(e *entry, cause error) {
	exit, known := s.foreignExit(&e.rec)
	if !known {
		s.log.Warn("container ended unseen", "container", e.rec.ID, "reason", cause.Error())
		exit = Exit{Code: UnknownExitCode, Unknown: true, At: time.Now()}
	}
	s.settleExit(e, exit)
}

// resumeStreams opens the pipes of a container again and goes on with its log, which is opened when something is written:
// one that cannot be opened does not end the container, and one that makes wait does not hold up the others.
func (s *server) resumeStreams(e *entry) error {
	s.watchLog(e)
	if e.rec.Terminal {
		if err := s.recoverConsole(e); err != nil {
			s.log.Warn("terminal of a container died with the supervisor that was killed", "container", e.rec.ID, "err", err)
		}
		return nil
	}
	dir := s.records.pipes(e.rec.ID)
	for stream, o := range map[string]**output{"stdout": &e.stdout, "stderr": &e.stderr} {
		path := filepath.Join(dir, stream)
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			continue
		}
		var err error
		if *o, err = s.openOutput(e, path, stream); err != nil {
			return err
		}
	}
	s.settleInflight(e)
	for _, o := range []*output{e.stdout, e.stderr} {
		if o == nil {
			continue
		}
		if err := o.begin(); err != nil {
			return err
		}
	}
	stdin := filepath.Join(dir, "stdin")
	fd, err := unix.Open(stdin, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err == nil {
		_ = unix.SetNonblock(fd, false)
		e.stdin = fileOf(fd, stdin)
	}
	return nil
}

// rebuildDamaged knows containers whose record is damaged again by what the runtime's state and the kernel tell. What
// stays unknown is swept.
func (s *server) rebuildDamaged(bad map[string]error) {
	for id, cause := range bad {
		c, err := oci.Load(s.ociDir, id)
		if err == nil {
			err = s.rebuild(c)
		}
		if err == nil {
			s.log.Warn("record is damaged; it is made anew", "container", id, "err", cause)
			continue
		}
		s.log.Warn("record is damaged; it is removed", "container", id, "err", cause)
	}
}

func (s *server) rebuild(c *oci.Container) error {
	state, err := c.State()
	if err != nil {
		return err
	}
	start, _, err := pidfd.StartTime(state.Pid)
	if err != nil {
		return fmt.Errorf("container %q: %w", c.ID, err)
	}
	rec := record{
		Container: Container{ID: c.ID, Phase: PhaseRunning, PID: state.Pid, CgroupPath: c.CgroupPath(), CreatedAt: state.Created, StartedAt: state.Created},
		BootID:    s.bootID, StartTicks: start,
	}
	s.adopt(&rec)
	return nil
}

func (s *server) known(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[id] != nil
}
