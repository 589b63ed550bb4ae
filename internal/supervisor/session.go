package supervisor

import (
	"os"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
)

// The kinds of session.
const (
	sessionExec   = "exec"
	sessionAttach = "attach"
	sessionWait   = "wait"
	sessionUnread = "unread" // its request waits in the socket
)

// session is a connection that outlasts its request: a process begun by exec,
// an attached client, someone who waits. An upgrade hands it on.
type session struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// Kill the process of an exec with its connection.
	Kill bool `json:"kill,omitempty"`
	// Target is the process of an exec by a foreign runtime; pidfd is then its
	// monitor's.
	Target int `json:"target,omitempty"`
	// Stdin tells that an attached client writes to the container.
	Stdin bool `json:"stdin,omitempty"`

	conn  *conn
	pidfd *os.File
	taps  []*tap
}

// kill ends the process of an exec.
func (x *session) kill() {
	if x.Target == 0 {
		_ = pidfd.Signal(x.pidfd, unix.SIGKILL)
		return
	}
	// As long as its monitor lives, the pid is the target's.
	target, err := pidfd.Open(x.Target, 0)
	if err != nil {
		return
	}
	defer target.Close()
	if pidfd.Alive(x.pidfd) {
		_ = pidfd.Signal(target, unix.SIGKILL)
	}
}

func (s *server) begun(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[x] = struct{}{}
}

func (s *server) over(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, x)
}
