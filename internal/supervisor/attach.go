package supervisor

import (
	"os"

	"golang.org/x/sys/unix"
)

// doAttach adds the client's pipes to the container's outputs, which came in
// the order stdout, stderr, and gives it a copy of the input's end. It lasts as
// long as the connection or the container.
func (s *server) doAttach(c *call) {
	e, err := s.find(c.req.ID)
	if err != nil {
		s.fail(c.conn, err)
		return
	}
	req := c.req.Attach
	input, err := s.attachInput(e, req)
	if err != nil {
		s.fail(c.conn, err)
		return
	}
	a := &session{Kind: sessionAttach, ID: c.req.ID, Stdin: req.Stdin, conn: c.conn, taps: s.attachOutputs(e, c)}
	r := response{Terminal: e.rec.Terminal}
	var files []*os.File
	if input != nil {
		r.Files, files = []string{"stdin"}, []*os.File{input}
	}
	delivered := s.reply(c.conn, r, files...)
	closeFiles(files)
	if !delivered {
		c.conn.shutdown()
	}
	s.begun(a)
	c.release()
	s.followAttach(a, e)
}

// followAttach lasts until the client leaves or the container ends.
func (s *server) followAttach(a *session, e *entry) {
	left := false
	select {
	case <-e.exited:
	case <-a.conn.hangup():
		left = true
	}
	s.life.RLock()
	defer s.life.RUnlock()
	s.over(a)
	if left {
		s.outs.poll.call(func() {
			for _, t := range a.taps {
				t.drop()
				t.src.sweep()
			}
		})
	}
	if a.Stdin && e.rec.StdinOnce && !e.rec.Terminal {
		e.closeStdin()
	}
}

func (e *entry) closeStdin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stdin != nil {
		e.stdin.Close()
		e.stdin = nil
	}
}

// attachInput copies the descriptor that the client writes to.
func (s *server) attachInput(e *entry, req *AttachRequest) (*os.File, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.rec.Phase != PhaseRunning && e.rec.Phase != PhaseCreated {
		return nil, stateError(e.rec.ID, e.rec.Phase, "running")
	}
	source := e.stdin
	if e.rec.Terminal {
		source = e.console
	}
	if !req.Stdin || source == nil {
		return nil, nil
	}
	return duplicate(source)
}

func (s *server) attachOutputs(e *entry, c *call) []*tap {
	var taps []*tap
	next := 0
	take := func(wanted bool, o *output) {
		if !wanted || next >= len(c.files) {
			return
		}
		f := c.files[next]
		next++
		if o == nil {
			return // closed with the call: end of file for the client
		}
		dup, err := duplicate(f)
		if err != nil {
			return
		}
		fd, err := detach(dup)
		if err != nil {
			return
		}
		s.outs.poll.call(func() { taps = append(taps, o.attach(fd)) })
	}
	take(c.req.Attach.Stdout, e.stdout)
	take(c.req.Attach.Stderr, e.stderr)
	closeFiles(c.files)
	c.files = nil
	return taps
}

// duplicate copies a descriptor.
func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var dup int
	var derr error
	if err := raw.Control(func(fd uintptr) { dup, derr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if derr != nil {
		return nil, os.NewSyscallError("fcntl", derr)
	}
	return os.NewFile(uintptr(dup), f.Name()), nil
}

// detach takes the descriptor out of the file, non-blocking.
func detach(f *os.File) (int, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
