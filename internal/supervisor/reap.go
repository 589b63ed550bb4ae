package supervisor

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// drainBytes bounds what is read of a container's output at its end, when
// another process still holds the pipe and keeps writing.
const drainBytes = 64 * chunk

// watchExit calls reap once when init has ended.
func (s *server) watchExit(e *entry) error {
	fd := int(e.pidfd.Fd())
	return s.exits.add(fd, unix.EPOLLIN, func(uint32) {
		s.exits.remove(fd)
		go s.reap(e)
	})
}

// reap collects the exit of init: what it wrote is logged first, then the exit
// is on disk, then clients hear of it.
func (s *server) reap(e *entry) {
	s.life.RLock()
	defer s.life.RUnlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pidfd == nil || e.rec.Phase == PhaseExited {
		return
	}
	exit := e.collect()
	if told, ok := s.foreignExit(&e.rec); ok {
		exit = told
	}
	s.settleExit(e, exit)
}

func (s *server) settleExit(e *entry, exit Exit) {
	if e.runc != nil {
		if kills, err := e.runc.OOMKills(); err == nil && kills > 0 {
			exit.OOMKilled = true
		}
		if e.rec.SharedPID {
			_ = e.runc.Kill(unix.SIGKILL, true)
		}
	}
	s.endOutputs(e)
	defer s.ending()()
	closeFiles([]*os.File{e.stdin, e.console})
	e.stdin, e.console = nil, nil
	e.rec.Phase = PhaseExited
	e.rec.Exit = &exit
	if err := s.records.save(&e.rec); err != nil {
		// Clients still hear of it; only a supervisor that is killed now would forget.
		s.log.Error("exit not recorded", "container", e.rec.ID, "err", err)
	}
	s.publish(e)
	close(e.exited)
}

// endOutputs logs what is left. If the disk does not answer, the exit is told first and the rest is logged when it does.
func (s *server) endOutputs(e *entry) {
	if e.log == nil {
		return
	}
	var lost atomic.Int64
	err := s.outs.writers.within(e.log, func(w *writer) {
		for _, o := range []*output{e.stdout, e.stderr} {
			if o != nil {
				o.drain(w)
				o.finish()
			}
		}
		lost.Store(e.log.lost)
		if e.log.lost > 0 {
			s.log.Warn("output of a container was lost", "container", e.rec.ID, "bytes", e.log.lost)
		}
		e.log.close()
	})
	if err != nil {
		s.log.Warn("a container has ended before its last output is logged", "container", e.rec.ID, "err", err)
	}
	e.rec.LostLogBytes = lost.Load()
}

// collect reaps a child, or asks the kernel how a foreign process ended.
func (e *entry) collect() Exit {
	exit := Exit{At: time.Now(), Code: UnknownExitCode, Unknown: true}
	if e.child {
		status, err := pidfd.Wait(e.pidfd)
		if err != nil {
			return exit
		}
		return exitOf(status.Code, int(status.Signal))
	}
	if status, ok := e.strangerExit(); ok {
		return exitOf(status.ExitStatus(), int(signalOf(status)))
	}
	return exit
}

// strangerExit reads the exit status of a process that is not a child: from its
// zombie while nobody has reaped it, or from what the kernel keeps behind the
// pidfd afterwards (Linux 6.15).
func (e *entry) strangerExit() (unix.WaitStatus, bool) {
	fd := int(e.pidfd.Fd())
	if status, ok := exitInfo(fd); ok {
		return status, true
	}
	if status, ok := zombieStatus(e.rec.watched(), e.rec.StartTicks); ok {
		return status, true
	}
	return exitInfo(fd) // reaped between the two
}

func exitOf(code, signal int) Exit {
	exit := Exit{At: time.Now(), Code: code}
	if signal > 0 {
		exit.Code, exit.Signal = 128+signal, signal
	}
	return exit
}

func signalOf(w unix.WaitStatus) unix.Signal {
	if w.Signaled() {
		return w.Signal()
	}
	return 0
}

// watchExec sends the process's exit on its connection and closes the channel.
func (s *server) watchExec(x *session) (<-chan struct{}, error) {
	done := make(chan struct{})
	fd := int(x.pidfd.Fd())
	collect := func() {
		s.life.RLock()
		defer s.life.RUnlock()
		defer close(done)
		status, err := pidfd.Wait(x.pidfd)
		exit := exitOf(status.Code, int(status.Signal))
		if err != nil {
			exit = Exit{At: time.Now(), Code: UnknownExitCode, Unknown: true}
		}
		s.over(x)
		s.reply(x.conn, response{Exit: &exit})
	}
	err := s.exits.add(fd, unix.EPOLLIN, func(uint32) {
		s.exits.remove(fd)
		go collect()
	})
	return done, err
}

// shutdown refuses while containers run, or ends them all.
func (s *server) shutdown(force bool) error {
	s.mu.Lock()
	var all []*entry
	for _, e := range s.entries {
		if e.public.Load() != nil {
			all = append(all, e)
		}
	}
	s.mu.Unlock()
	if !force {
		for _, e := range all {
			if e.phase() != PhaseExited {
				return fmt.Errorf("container %q runs: %w", e.rec.ID, ErrBusy)
			}
		}
		return nil
	}
	results := make(chan error, len(all))
	for _, e := range all {
		go func() { results <- s.delete(e, true) }()
	}
	var first error
	for range all {
		if err := <-results; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// shutdown ends the stream without freeing the descriptor, which the
// connection's own goroutine does.
func (c *conn) shutdown() {
	_ = c.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
}
