package supervisor

import "os"

// The kinds of session.
const (
	sessionExec   = "exec"
	sessionAttach = "attach"
	sessionWait   = "wait"
)

// session is a connection that outlasts its request: a process begun by exec,
// an attached client, someone who waits. An upgrade hands it on.
type session struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// Kill the process of an exec with its connection.
	Kill bool `json:"kill,omitempty"`
	// Stdin tells that an attached client writes to the container.
	Stdin bool `json:"stdin,omitempty"`

	conn  *conn
	pidfd *os.File
	taps  []*tap
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
