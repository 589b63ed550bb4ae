package supervisor

import (
	"os"

	"golang.org/x/sys/unix"
)

// call is one request being answered.
type call struct {
	conn  *conn
	req   *request
	files []*os.File
	// release lets an upgrade happen; a verb calls it before it waits.
	release func()
}

// verbs lists what a client can ask for.
func verbs() map[string]func(*server, *call) {
	return map[string]func(*server, *call){
		"create":     (*server).doCreate,
		"start":      (*server).doStart,
		"exec":       (*server).doExec,
		"attach":     (*server).doAttach,
		"resize":     (*server).doResize,
		"closestdin": (*server).doCloseStdin,
		"signal":     (*server).doSignal,
		"wait":       (*server).doWait,
		"delete":     (*server).doDelete,
		"reopen":     (*server).doReopen,
		"update":     (*server).doUpdate,
		"pids":       (*server).doPIDs,
		"list":       (*server).doList,
		"get":        (*server).doGet,
		"events":     (*server).doEvents,
		"info":       (*server).doInfo,
		"upgrade":    (*server).doUpgrade,
		"shutdown":   (*server).doShutdown,
	}
}

// answer replies with the container's state, or with err.
func (s *server) answer(c *call, e *entry, err error) {
	if err != nil {
		s.fail(c.conn, err)
		return
	}
	r := response{}
	if e != nil {
		r.Container = e.public.Load()
	}
	s.reply(c.conn, r)
}

// with runs f on the container that the request names, and answers.
func (s *server) with(c *call, f func(*entry) error) {
	e, err := s.find(c.req.ID)
	if err == nil {
		err = f(e)
	}
	s.answer(c, e, err)
}

func (s *server) doCreate(c *call) {
	e, err := s.create(c.req.Create)
	s.answer(c, e, err)
}

func (s *server) doStart(c *call)  { s.with(c, s.start) }
func (s *server) doReopen(c *call) { s.with(c, s.reopenLog) }

func (s *server) doResize(c *call) {
	s.with(c, func(e *entry) error { return e.resize(c.req.Width, c.req.Height) })
}

func (s *server) doCloseStdin(c *call) {
	s.with(c, func(e *entry) error { e.closeStdin(); return nil })
}

func (s *server) doSignal(c *call) {
	s.with(c, func(e *entry) error { return e.signal(unix.Signal(c.req.Signal), c.req.All) })
}

func (s *server) doUpdate(c *call) {
	s.with(c, func(e *entry) error { return e.update(c.req.Limits) })
}

func (s *server) doDelete(c *call) {
	e, err := s.find(c.req.ID)
	if err != nil {
		s.reply(c.conn, response{}) // gone already
		return
	}
	s.answer(c, nil, s.delete(e, c.req.Force))
}

func (s *server) doPIDs(c *call) {
	e, err := s.find(c.req.ID)
	if err == nil {
		var pids []int
		if pids, err = e.pids(); err == nil {
			s.reply(c.conn, response{PIDs: pids})
			return
		}
	}
	s.fail(c.conn, err)
}

func (s *server) doGet(c *call) { s.with(c, func(*entry) error { return nil }) }

func (s *server) doList(c *call) { s.reply(c.conn, response{Containers: s.list()}) }

func (s *server) doInfo(c *call) {
	s.mu.Lock()
	info := Info{PID: os.Getpid(), StartedAt: s.started, Containers: len(s.entries), Protocol: protocolVersion, BootID: s.bootID, Epoch: s.epoch}
	s.mu.Unlock()
	s.reply(c.conn, response{Info: &info})
}

func (s *server) doWait(c *call) {
	e, err := s.find(c.req.ID)
	if err != nil {
		s.fail(c.conn, err)
		return
	}
	w := &session{Kind: sessionWait, ID: c.req.ID, conn: c.conn}
	s.begun(w)
	c.release()
	s.followWait(w, e)
}

func (s *server) followWait(w *session, e *entry) {
	defer s.over(w)
	select {
	case <-e.exited:
		s.reply(w.conn, response{Exit: e.public.Load().Exit})
	case <-w.conn.hangup():
	}
}

func (s *server) doShutdown(c *call) {
	if err := s.shutdown(c.req.Force); err != nil {
		s.fail(c.conn, err)
		return
	}
	s.reply(c.conn, response{})
	s.end()
}
