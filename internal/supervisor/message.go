package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// protocolVersion grows when an old client and a new supervisor would
// misunderstand each other.
const protocolVersion = 1

// request is the first frame of a connection. Op is a key of verbs.
type request struct {
	Op     string                `json:"op"`
	ID     string                `json:"id,omitempty"`
	Create *createMessage        `json:"create,omitempty"`
	Exec   *ExecRequest          `json:"exec,omitempty"`
	Attach *AttachRequest        `json:"attach,omitempty"`
	Signal int                   `json:"signal,omitempty"`
	All    bool                  `json:"all,omitempty"`
	Force  bool                  `json:"force,omitempty"`
	Width  uint16                `json:"width,omitempty"`
	Height uint16                `json:"height,omitempty"`
	Limits *specs.LinuxResources `json:"limits,omitempty"`
	// Stdio tells which of the three standard files came with an exec.
	Stdio [3]bool `json:"stdio,omitempty"`
}

// createMessage carries the specification as the bytes the client wrote: the
// supervisor hands the same bytes to init.
type createMessage struct {
	CreateRequest
	Spec json.RawMessage `json:"spec"`
}

// response answers a request; streams (exec, events, wait) send several.
type response struct {
	Error      *wireError  `json:"error,omitempty"`
	Container  *Container  `json:"container,omitempty"`
	Containers []Container `json:"containers,omitempty"`
	PID        int         `json:"pid,omitempty"`
	PIDs       []int       `json:"pids,omitempty"`
	Exit       *Exit       `json:"exit,omitempty"`
	Event      *Event      `json:"event,omitempty"`
	Info       *Info       `json:"info,omitempty"`
	Terminal   bool        `json:"terminal,omitempty"`
	// Files names the descriptors that came along, in order.
	Files []string `json:"files,omitempty"`
}

// wireError keeps, next to the words, which of the package's errors it was.
type wireError struct {
	Kind string `json:"kind,omitempty"`
	Text string `json:"text"`
}

// errorKinds are the errors that survive the socket.
func errorKinds() map[string]error {
	return map[string]error{
		"not-found": ErrNotFound,
		"exists":    ErrExists,
		"state":     ErrState,
		"busy":      ErrBusy,
	}
}

func toWire(err error) *wireError {
	for kind, known := range errorKinds() {
		if errors.Is(err, known) {
			return &wireError{Kind: kind, Text: err.Error()}
		}
	}
	return &wireError{Text: err.Error()}
}

// remoteError is an error that the supervisor reported.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

func fromWire(w *wireError) error {
	if w == nil {
		return nil
	}
	return &remoteError{text: w.Text, kind: errorKinds()[w.Kind]}
}

// stateError says what a container would have to be.
func stateError(id string, have Phase, want string) error {
	return fmt.Errorf("container %q is %s, not %s: %w", id, have, want, ErrState)
}
