package supervisor

import (
	"errors"
	"fmt"
	"os"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
)

// doExec runs a process with the client's descriptors, or gives the client the
// master of a new terminal. The supervisor carries none of its bytes. The
// second frame of the answer is the exit.
func (s *server) doExec(c *call) {
	e, err := s.find(c.req.ID)
	if err != nil {
		s.fail(c.conn, err)
		return
	}
	process, err := s.exec(e, c)
	if err != nil {
		s.fail(c.conn, err)
		return
	}
	r := response{PID: process.PID}
	var files []*os.File
	if process.Console != nil {
		r.Files = []string{"console"}
		files = append(files, process.Console)
	}
	delivered := s.reply(c.conn, r, files...)
	closeFiles(files)
	closeFiles(c.files)
	c.files = nil
	x := &session{Kind: sessionExec, ID: c.req.ID, Kill: c.req.Exec.KillOnClose || !delivered, pidfd: process.PIDFD, conn: c.conn}
	if e.rec.Runtime != "" {
		x.Target = process.PID
	}
	s.begun(x)
	c.release()
	s.followExec(x)
}

// followExec lasts as long as the process.
func (s *server) followExec(x *session) {
	defer x.pidfd.Close()
	done, err := s.watchExec(x)
	if err != nil {
		s.log.Error("process of an exec is not watched", "container", x.ID, "err", err)
		x.kill()
		_, _ = pidfd.Wait(x.pidfd)
		s.over(x)
		s.fail(x.conn, err)
		return
	}
	select {
	case <-done:
	case <-x.conn.hangup():
		if x.Kill {
			x.kill()
		}
		<-done
	}
}

func (s *server) exec(e *entry, c *call) (*oci.Process, error) {
	req := c.req.Exec
	if req == nil || req.Process == nil {
		return nil, errors.New("exec needs a process")
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.rec.Phase != PhaseRunning {
		return nil, stateError(e.rec.ID, e.rec.Phase, "running")
	}
	o := oci.ExecOptions{
		Spec: req.Process, Exe: s.exe,
		Warn: s.warn,
	}
	next := 0
	for i, given := range c.req.Stdio {
		if !given {
			continue
		}
		if next >= len(c.files) {
			return nil, fmt.Errorf("exec in container %q: a standard file is missing", e.rec.ID)
		}
		o.Stdio[i] = c.files[next]
		next++
	}
	ctx, cancel := runtimeContext()
	defer cancel()
	return e.runc.Exec(ctx, o)
}
