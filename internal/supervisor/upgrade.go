package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// handoffVersion grows when an old supervisor's state would be misread.
const handoffVersion = 1

// upgradeTime is how long an upgrade waits for requests under way.
const upgradeTime = 10 * time.Second

// handoff is what the supervisor leaves to the program that replaces it. The
// numbers are descriptors, which execve keeps.
type handoff struct {
	Version      int              `json:"version"`
	Listen, Lock int              `json:",omitempty"`
	Asker        int              `json:"asker"` // who waits to hear of the success
	Seq, Epoch   uint64           `json:",omitempty"`
	StartedAt    time.Time        `json:"startedAt"`
	Entries      []handoffEntry   `json:"entries"`
	Sessions     []handoffSession `json:"sessions"`
}

type handoffEntry struct {
	Record  record          `json:"record"`
	Child   bool            `json:"child"`
	PIDFD   int             `json:"pidfd"`
	Stdin   int             `json:"stdin"`
	Console int             `json:"console"`
	Outputs []handoffOutput `json:"outputs"`
	Partial map[string]bool `json:"partial,omitempty"`
	Lost    int64           `json:"lost,omitempty"`
}

type handoffOutput struct {
	Stream string `json:"stream"`
	FD     int    `json:"fd"`
}

type handoffSession struct {
	session
	Conn  int          `json:"conn"`
	PIDFD int          `json:"pidfd"`
	Taps  []handoffTap `json:"taps,omitempty"`
}

type handoffTap struct {
	Stream  string `json:"stream"`
	FD      int    `json:"fd"`
	Pending []byte `json:"pending,omitempty"`
}

// doUpgrade executes the program that came with the request in the place of
// this one. Children stay children, pipes and terminals stay open, requests
// that arrive meanwhile wait in the socket's backlog.
func (s *server) doUpgrade(c *call) {
	if len(c.files) != 1 {
		s.fail(c.conn, errors.New("upgrade needs one program"))
		return
	}
	c.release()
	for end := time.Now().Add(upgradeTime); !s.life.TryLock(); time.Sleep(time.Millisecond) { //nolint:forbidigo // a lock has no deadline
		if time.Now().After(end) {
			s.fail(c.conn, errors.New("upgrade gave up: requests are under way"))
			return
		}
	}
	// From here on nothing moves: no request, no reaping, no reading. A thread that waits for a disk would not let go of the
	// old program.
	err := s.outs.hold()
	if err == nil {
		s.exits.stop()
		s.outs.poll.stop()
		err = s.replace(c)
		// Still here: go on as before.
		s.runPollers()
	}
	s.outs.resume()
	s.life.Unlock()
	s.fail(c.conn, fmt.Errorf("replacing the supervisor: %w", err))
}

// replace does not return when it succeeds.
func (s *server) replace(c *call) error {
	k := &keeper{}
	defer k.close()
	h := s.handoff(k)
	h.Asker = k.conn(c.conn)
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encoding the state: %w", err)
	}
	fd, err := unix.MemfdCreate("supervisor-state", 0)
	if err != nil {
		return fmt.Errorf("keeping the state: memfd_create: %w", err)
	}
	state := os.NewFile(uintptr(fd), "state")
	defer state.Close()
	if _, err := state.Write(data); err != nil {
		return fmt.Errorf("keeping the state: %w", err)
	}
	exe := k.file(c.files[0])
	if k.err != nil {
		return fmt.Errorf("keeping descriptors: %w", k.err)
	}
	argv := []string{"skiff-oci", "supervisor", "--socket", s.socket, "--dir", s.dir, "--resume-fd", fmt.Sprint(fd)}
	return os.NewSyscallError("execve", unix.Exec(fmt.Sprintf("/proc/self/fd/%d", exe), argv, os.Environ()))
}

// keeper makes copies of descriptors that execve keeps.
type keeper struct {
	fds []int
	err error
}

func (k *keeper) fd(fd int) int {
	if fd < 0 || k.err != nil {
		return -1
	}
	kept, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, 3)
	if err != nil {
		k.err = err
		return -1
	}
	k.fds = append(k.fds, kept)
	return kept
}

func (k *keeper) file(f *os.File) int {
	if f == nil {
		return -1
	}
	raw, err := f.SyscallConn()
	if err != nil {
		k.err = errors.Join(k.err, err)
		return -1
	}
	kept := -1
	if err := raw.Control(func(fd uintptr) { kept = k.fd(int(fd)) }); err != nil {
		k.err = errors.Join(k.err, err)
	}
	return kept
}

func (k *keeper) conn(c *conn) int { return k.file(c.f) }

func (k *keeper) close() {
	for _, fd := range k.fds {
		unix.Close(fd)
	}
}

// handoff writes the state down. Nothing else runs.
func (s *server) handoff(k *keeper) *handoff {
	h := &handoff{
		Version: handoffVersion, Listen: k.file(s.listen), Lock: k.file(s.lock),
		Seq: s.seq, Epoch: s.epoch, StartedAt: s.started,
	}
	for _, e := range s.entries {
		if e.public.Load() == nil {
			continue
		}
		he := handoffEntry{Record: e.rec, Child: e.child, PIDFD: k.file(e.pidfd), Stdin: k.file(e.stdin), Console: k.file(e.console)}
		for _, o := range []*output{e.stdout, e.stderr} {
			if o != nil {
				he.Outputs = append(he.Outputs, handoffOutput{Stream: o.stream, FD: k.fd(o.open())})
			}
		}
		if e.log != nil {
			he.Partial, he.Lost = e.log.partial, e.log.lost
		}
		h.Entries = append(h.Entries, he)
	}
	for x := range s.sessions {
		hs := handoffSession{session: *x, Conn: k.conn(x.conn), PIDFD: k.file(x.pidfd)}
		for _, t := range x.taps {
			if t.fd >= 0 {
				hs.Taps = append(hs.Taps, handoffTap{Stream: t.src.stream, FD: k.fd(t.fd), Pending: t.pending})
			}
		}
		h.Sessions = append(h.Sessions, hs)
	}
	for c := range s.unread {
		h.Sessions = append(h.Sessions, handoffSession{session: session{Kind: sessionUnread}, Conn: k.conn(c), PIDFD: -1})
	}
	return h
}
