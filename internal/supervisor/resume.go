package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/oci"
)

// resume takes the state over.
func (s *server) resume(fd int) error {
	f := kept(fd, "state")
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		return fmt.Errorf("reading the predecessor's state: %w", err)
	}
	var h handoff
	if err := json.Unmarshal(data, &h); err != nil {
		return fmt.Errorf("reading the predecessor's state: %w", err)
	}
	if h.Version != handoffVersion {
		return fmt.Errorf("the predecessor's state has version %d, this program knows %d", h.Version, handoffVersion)
	}
	s.listen, s.lock = kept(h.Listen, "supervisor socket"), kept(h.Lock, "lock")
	s.seq, s.epoch, s.started = h.Seq, h.Epoch, h.StartedAt
	for i := range h.Entries {
		s.resumeEntry(&h.Entries[i])
	}
	for i := range h.Sessions {
		s.resumeSession(&h.Sessions[i])
	}
	s.sweep() // the predecessor may have been at it
	if asker, err := newConn(keptFD(h.Asker)); err == nil {
		s.reply(asker, response{})
		asker.close()
	}
	return nil
}

func keptFD(fd int) int {
	if fd >= 0 {
		unix.CloseOnExec(fd)
	}
	return fd
}

func kept(fd int, name string) *os.File {
	if fd < 0 {
		return nil
	}
	return os.NewFile(uintptr(keptFD(fd)), name)
}

func (s *server) resumeEntry(h *handoffEntry) {
	e := &entry{rec: h.Record, child: h.Child, exited: make(chan struct{}), pidfd: kept(h.PIDFD, "pidfd"), stdin: kept(h.Stdin, "stdin"), console: kept(h.Console, "console")}
	var err error
	if e.runc, err = s.load(&e.rec); err != nil && !errors.Is(err, oci.ErrNotFound) {
		s.log.Warn("runtime state not read", "container", e.rec.ID, "err", err)
	}
	s.mu.Lock()
	s.entries[e.rec.ID] = e
	state := e.rec.Container
	e.public.Store(&state)
	s.mu.Unlock()
	if e.rec.Phase == PhaseExited {
		close(e.exited)
		return
	}
	s.watchLog(e)
	e.log.lost = h.Lost
	if h.Partial != nil {
		e.log.partial = h.Partial
	}
	for _, ho := range h.Outputs {
		o := &output{all: s.outs, fd: keptFD(ho.FD), stream: ho.Stream, log: e.log}
		if !e.rec.Terminal {
			o.name = e.rec.ID + "/" + ho.Stream
		}
		if ho.Stream == "stdout" {
			e.stdout = o
		} else {
			e.stderr = o
		}
		o.closed, o.ended = o.fd < 0, o.fd < 0
		if !o.closed {
			if err := o.begin(); err != nil {
				s.log.Error("output not read", "container", e.rec.ID, "err", err)
			}
		}
	}
	s.resumeKeeper(&e.rec)
	if err := s.watchExit(e); err != nil {
		s.log.Error("container not watched", "container", e.rec.ID, "err", err)
	}
}

func (s *server) resumeSession(h *handoffSession) {
	x := &h.session
	if x.Kind == sessionUnread {
		s.accept(keptFD(h.Conn))
		return
	}
	var err error
	if x.conn, err = newConn(keptFD(h.Conn)); err != nil {
		return
	}
	x.pidfd = kept(h.PIDFD, "pidfd")
	e, err := s.find(x.ID)
	if err != nil {
		x.conn.close()
		if x.pidfd != nil {
			x.kill()
		}
		return
	}
	for _, ht := range h.Taps {
		o := e.stdout
		if ht.Stream == "stderr" {
			o = e.stderr
		}
		if o == nil { // the container has just ended
			o = &output{all: s.outs, fd: -1, stream: ht.Stream, closed: true, ended: true}
		}
		fd := keptFD(ht.FD)
		s.outs.poll.call(func() { x.taps = append(x.taps, o.resumeTap(fd, ht.Pending)) })
	}
	s.begun(x)
	go func() {
		defer x.conn.close()
		switch x.Kind {
		case sessionExec:
			s.followExec(x)
		case sessionAttach:
			s.followAttach(x, e)
		case sessionWait:
			s.followWait(x, e)
		}
	}()
}
