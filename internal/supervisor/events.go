package supervisor

import "time"

// subscriber is the one client that hears of every change. It keeps no queue of
// events but the set of containers that changed since the client last took
// some: a client that hangs costs no more than one id per container, and when
// it goes on it hears of every container's latest state.
type subscriber struct {
	conn  *conn
	dirty map[string]struct{}
	wake  chan struct{}
	// replaced is closed when another client follows.
	replaced chan struct{}
}

// mark notes a change. The caller holds server.mu.
func (b *subscriber) mark(id string) {
	b.dirty[id] = struct{}{}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// replace ends the stream in favour of another, in a way that does not wait for
// a client that hangs.
func (b *subscriber) replace() {
	close(b.replaced)
	_ = b.conn.f.SetWriteDeadline(time.Now().Add(time.Second))
}

// doEvents makes the connection the event stream, in place of an older one.
func (s *server) doEvents(c *call) {
	c.release() // the client comes back after an upgrade
	b := &subscriber{conn: c.conn, dirty: map[string]struct{}{}, wake: make(chan struct{}, 1), replaced: make(chan struct{})}
	s.mu.Lock()
	old := s.sub
	s.sub = b
	s.mu.Unlock()
	if old != nil {
		old.replace()
	}
	defer func() {
		s.mu.Lock()
		if s.sub == b {
			s.sub = nil
		}
		s.mu.Unlock()
	}()
	for _, state := range s.list() {
		if c.conn.send(&response{Event: &Event{Container: &state, Initial: true}}) != nil {
			return
		}
	}
	if c.conn.send(&response{Event: &Event{Synced: true}}) != nil {
		return
	}
	gone := c.conn.hangup()
	for {
		select {
		case <-b.wake:
		case <-gone:
			return
		case <-b.replaced:
			_ = c.conn.send(&response{Event: &Event{Replaced: true}})
			return
		}
		for _, event := range s.changes(b) {
			if c.conn.send(&response{Event: &event}) != nil {
				return
			}
		}
	}
}

// changes takes what is dirty.
func (s *server) changes(b *subscriber) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := make([]Event, 0, len(b.dirty))
	for id := range b.dirty {
		var state *Container
		if e := s.entries[id]; e != nil {
			state = e.public.Load()
		}
		if state == nil {
			events = append(events, Event{Container: &Container{ID: id}, Deleted: true})
			continue
		}
		events = append(events, Event{Container: state})
	}
	b.dirty = map[string]struct{}{}
	return events
}
