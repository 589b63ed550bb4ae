package supervisor

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/oci"
)

// entry is one container in the supervisor.
type entry struct {
	// mu is held for writing while the container changes phase, for reading
	// while something is done to it that needs it to stay in its phase. It is
	// never held for longer than one operation of the runtime takes.
	mu     sync.RWMutex
	rec    record
	runc   ociRuntime
	pidfd  *os.File
	child  bool // a child of this process, which can reap it
	exited chan struct{}
	// public is what clients see; nil until the container is wholly there.
	public atomic.Pointer[Container]

	// The streams; the log and the outputs are used by writers.
	log            *logFile
	stdout, stderr *output
	stdin          *os.File // write end
	console        *os.File // terminal's master, for resizing and input
}

// phase is what clients see.
func (e *entry) phase() Phase { return e.public.Load().Phase }

// start runs the program of a created container.
func (s *server) start(e *entry) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rec.Phase != PhaseCreated {
		return stateError(e.rec.ID, e.rec.Phase, "created")
	}
	return s.startLocked(e)
}

func (s *server) startLocked(e *entry) error {
	ctx, cancel := runtimeContext()
	defer cancel()
	if err := e.runc.Start(ctx); err != nil {
		return err
	}
	e.slim(s)
	e.rec.Phase = PhaseRunning
	e.rec.StartedAt = time.Now()
	if err := s.records.save(&e.rec); err != nil {
		return err
	}
	s.publish(e)
	return nil
}

// slim forgets the specification, which is on disk. What is kept has no share in e.pidfd, which is closed before the rest
// is removed.
func (e *entry) slim(s *server) {
	if _, own := e.runc.(*oci.Container); !own {
		return
	}
	e.runc = ownRuntime{s.ociDir, e.rec.ID, e.rec.CgroupPath}
}

// signal sends sig to init or, with all, to every process of the container. A
// container that has exited is no error: the sender wanted it to notice, and it
// cannot.
func (e *entry) signal(sig unix.Signal, all bool) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.rec.Phase == PhaseExited {
		return nil
	}
	err := e.runc.Kill(sig, all)
	if errors.Is(err, oci.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sending signal %d to container %q: %w", int(sig), e.rec.ID, err)
	}
	return nil
}

func (e *entry) update(limits *specs.LinuxResources) error {
	if limits == nil {
		return errors.New("update needs limits")
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.rec.Phase == PhaseExited {
		return stateError(e.rec.ID, PhaseExited, "running")
	}
	return e.runc.Update(limits)
}

func (e *entry) pids() ([]int, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.rec.Phase == PhaseExited {
		return nil, nil
	}
	return e.runc.Pids()
}

func (e *entry) resize(width, height uint16) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.console == nil {
		return fmt.Errorf("container %q has no terminal", e.rec.ID)
	}
	size := unix.Winsize{Col: width, Row: height}
	fd, err := rawFD(e.console)
	if err == nil {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &size)
	}
	if err != nil {
		return fmt.Errorf("resizing the terminal of container %q: %w", e.rec.ID, err)
	}
	return nil
}

func (s *server) reopenLog(e *entry) error {
	e.mu.RLock()
	log := e.log
	if e.rec.Phase == PhaseExited {
		log = nil
	}
	e.mu.RUnlock()
	if log == nil {
		return stateError(e.rec.ID, PhaseExited, "running")
	}
	result := make(chan error, 1)
	if err := s.outs.writers.within(log, func(*writer) { result <- log.reopen() }); err != nil {
		return fmt.Errorf("reopening the log of container %q: %w", e.rec.ID, err)
	}
	return <-result
}

// delete acknowledges the exit of a container and removes all of it.
func (s *server) delete(e *entry, force bool) error {
	if e.phase() != PhaseExited {
		if !force {
			return stateError(e.rec.ID, e.phase(), "exited")
		}
		if err := e.signal(unix.SIGKILL, true); err != nil {
			return err
		}
		select {
		case <-e.exited:
		case <-time.After(killTime):
			return fmt.Errorf("container %q does not end after SIGKILL (a process in uninterruptible sleep?): %w", e.rec.ID, ErrState)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s.closeStreams(e)
	if e.rec.Runtime == "" { // another runtime may hang, and takes its time for itself
		defer s.ending()()
	}
	if e.runc != nil {
		if err := e.runc.Delete(true); err != nil && !errors.Is(err, oci.ErrNotFound) {
			return fmt.Errorf("deleting container %q: %w", e.rec.ID, err)
		}
		e.runc = nil
	}
	if err := s.records.remove(e.rec.ID); err != nil {
		return fmt.Errorf("deleting the record of container %q: %w", e.rec.ID, err)
	}
	s.forget(e)
	return nil
}

// forget takes e out of the table and tells the subscriber.
func (s *server) forget(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[e.rec.ID] != e {
		return
	}
	delete(s.entries, e.rec.ID)
	if s.sub != nil && e.public.Load() != nil {
		s.sub.mark(e.rec.ID)
	}
}

// closeStreams ends reading and writing. The caller holds e.mu.
func (s *server) closeStreams(e *entry) {
	if e.log != nil {
		err := s.outs.writers.within(e.log, func(*writer) {
			for _, o := range []*output{e.stdout, e.stderr} {
				if o != nil {
					o.finish()
				}
			}
			e.log.close()
		})
		if err != nil {
			s.log.Warn("a container is removed before its output is logged", "container", e.rec.ID, "err", err)
		}
	}
	closeFiles([]*os.File{e.stdin, e.console, e.pidfd})
	e.stdin, e.console, e.pidfd = nil, nil, nil
}
