package image

import "sync"

// events passes progress on, one at a time.
type events struct {
	mu sync.Mutex
	to func(Event)
}

func newEvents(to func(Event)) *events { return &events{to: to} }

func (e *events) send(ev Event) {
	if e.to == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.to(ev)
}

// progress returns what a source reports its bytes to, or nil.
func (e *events) progress(action, what string, total int64) func(int64) {
	if e.to == nil {
		return nil
	}
	e.send(Event{Action: action, Digest: what, Total: total})
	return func(n int64) { e.send(Event{Action: action, Digest: what, Done: n, Total: total}) }
}
