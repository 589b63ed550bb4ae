package supervisor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const (
	// requestTime bounds reading a request and writing a reply: a hung client
	// costs one goroutine for so long.
	requestTime = 10 * time.Second
	// maxConns bounds concurrent connections.
	maxConns = 4096
)

// server is the supervisor.
type server struct {
	log     *slog.Logger
	socket  string
	dir     string
	records records
	ociDir  string
	lock    *os.File
	exe     *os.File
	listen  *os.File
	bootID  string
	epoch   uint64
	started time.Time

	exits *poller
	outs  *outputs
	// left are the chunks that a predecessor had under way, by container, until recover is done.
	left  map[string]*inflight
	slots chan struct{}
	// endings are taken while an entry is locked, never the other way round.
	endings chan struct{}
	tidy    tidy
	// beginnings bound the memory of creates under way.
	beginnings chan struct{}
	done       chan struct{}
	stop       sync.Once

	mu      sync.Mutex
	entries map[string]*entry
	seq     uint64
	sub     *subscriber
	warned  map[string]struct{}

	// life is held for reading by whatever may not be cut short, and for
	// writing by an upgrade, which replaces the program.
	life     sync.RWMutex
	sessions map[*session]struct{}
	// unread are connections whose request was not looked at yet.
	unread map[*conn]struct{}
}

func newServer(socket, dir string, log *slog.Logger) (*server, error) {
	s := &server{
		log: log, socket: socket, dir: dir, records: recordsIn(dir), ociDir: filepath.Join(dir, "oci"),
		started: time.Now(), entries: map[string]*entry{}, sessions: map[*session]struct{}{}, unread: map[*conn]struct{}{}, warned: map[string]struct{}{},
		slots: make(chan struct{}, maxConns), endings: make(chan struct{}, maxEndings), done: make(chan struct{}),
		beginnings: make(chan struct{}, maxBeginnings),
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("reading the boot id: %w", err)
	}
	s.bootID = strings.TrimSpace(string(boot))
	for _, d := range []string{dir, s.records.dir, s.ociDir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("making the supervisor's directory: %w", err)
		}
	}
	if s.exe, err = sealedSelf(); err != nil {
		return nil, err
	}
	if s.exits, err = newPoller(); err != nil {
		return nil, err
	}
	if s.outs, err = newOutputs(); err != nil {
		return nil, err
	}
	return s, nil
}

// begin takes over from a predecessor: the one that executed this program in
// its place (resume >= 0), or one that died.
func (s *server) begin(resume int) error {
	s.outs.writers.dir = s.dir
	if resume >= 0 {
		if _, err := leftInflight(s.dir); err != nil { // nothing is on its way
			s.log.Warn("pages of the predecessor not removed", "err", err)
		}
		s.runPollers()
		return s.resume(resume)
	}
	lock, err := lockDir(filepath.Dir(s.records.dir))
	if err != nil {
		return err
	}
	s.lock = lock
	s.runPollers()
	s.epoch = uint64(s.started.UnixNano())
	if err := s.recover(); err != nil {
		return err
	}
	s.listen, err = listenUnix(s.socket)
	return err
}

// runPollers starts both event loops.
func (s *server) runPollers() {
	for _, p := range []*poller{s.exits, s.outs.poll} {
		p.reopen()
		go func() {
			if err := p.run(); err != nil {
				s.log.Error("event loop ends", "err", err)
				s.end()
			}
		}()
	}
}

// end stops serving; containers are left as they are.
func (s *server) end() {
	s.stop.Do(func() {
		close(s.done)
		if s.listen != nil {
			_ = s.listen.SetDeadline(time.Unix(1, 0))
		}
	})
}

// handle answers the one request of a connection.
func (s *server) handle(c *conn) {
	defer func() {
		// A fault in one request must not orphan every container of the node.
		if fault := recover(); fault != nil {
			s.log.Error("request ended in a panic", "fault", fmt.Sprint(fault), "stack", string(debug.Stack()))
			s.fail(c, errors.New("supervisor met an internal fault; see its log"))
		}
	}()
	c.setDeadline(time.Now().Add(requestTime))
	// What is read is answered: an upgrade comes before or after.
	size, err := c.awaitMessage()
	if size > largeMessage {
		defer s.beginning()()
	}
	s.life.RLock()
	release := sync.OnceFunc(s.life.RUnlock)
	defer release()
	s.mu.Lock()
	delete(s.unread, c)
	s.mu.Unlock()
	if err != nil {
		return
	}
	var req request
	files, err := c.recv(&req)
	if err != nil {
		return
	}
	defer closeFiles(files)
	c.setDeadline(time.Time{})
	if req.Op == "create" && size <= largeMessage && (req.Create == nil || req.Create.Runtime == "") { // others may hang
		defer s.beginning()()
	}
	run, ok := verbs()[req.Op]
	if !ok {
		s.reply(c, response{Error: &wireError{Text: fmt.Sprintf("supervisor does not know the request %q", req.Op)}})
		return
	}
	run(s, &call{conn: c, req: &req, files: files, release: release})
}

func (s *server) reply(c *conn, r response, files ...*os.File) bool {
	_ = c.f.SetWriteDeadline(time.Now().Add(requestTime))
	err := c.send(&r, files...)
	_ = c.f.SetWriteDeadline(time.Time{})
	return err == nil
}

func (s *server) fail(c *conn, err error) { s.reply(c, response{Error: toWire(err)}) }

// find returns a container that is wholly there.
func (s *server) find(id string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil || e.public.Load() == nil {
		return nil, fmt.Errorf("container %q: %w", id, ErrNotFound)
	}
	return e, nil
}

// publish makes the present state of e visible and tells the subscriber. The
// caller holds e.mu.
func (s *server) publish(e *entry) {
	s.mu.Lock()
	s.seq++
	e.rec.Seq = s.seq
	state := e.rec.Container
	e.public.Store(&state)
	if s.sub != nil {
		s.sub.mark(e.rec.ID)
	}
	s.mu.Unlock()
}

// unpublish takes back what publish made visible.
func (s *server) unpublish(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.public.Swap(nil) != nil && s.sub != nil {
		s.sub.mark(e.rec.ID)
	}
}

func (s *server) list() []Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Container, 0, len(s.entries))
	for _, e := range s.entries {
		if c := e.public.Load(); c != nil {
			all = append(all, *c)
		}
	}
	return all
}
