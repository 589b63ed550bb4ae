package supervisor

import (
	"time"

	"golang.org/x/sys/unix"
)

// tap is an attached client's end. It is used in the poller's goroutine only.
type tap struct {
	src     *output
	fd      int
	pending []byte
	since   time.Time
}

// attach adds a client's end, a non-blocking descriptor that belongs to the
// output from now on.
func (o *output) attach(fd int) *tap {
	t := &tap{src: o, fd: fd}
	if o.ended {
		unix.Close(fd)
		t.fd = -1
		return t
	}
	o.taps = append(o.taps, t)
	o.tapped.Store(true)
	// No events asked for: EPOLLERR and EPOLLHUP tell that the reader has left.
	if err := o.all.poll.add(fd, 0, t.handle); err != nil {
		t.drop()
	}
	return t
}

// resumeTap goes on with a client's end after an upgrade. A stream that has ended owes it what is pending.
func (o *output) resumeTap(fd int, pending []byte) *tap {
	ended := o.ended
	o.ended = false
	t := o.attach(fd)
	if len(pending) > 0 {
		t.write(pending)
	}
	o.ended = ended
	if ended && len(t.pending) == 0 {
		t.close()
	}
	return t
}

func (o *output) feed(data []byte) {
	for _, t := range o.taps {
		if t.fd >= 0 {
			t.write(data)
		}
	}
	o.sweep()
}

// sweep forgets the taps that were dropped.
func (o *output) sweep() {
	kept := o.taps[:0]
	for _, t := range o.taps {
		if t.fd >= 0 {
			kept = append(kept, t)
		}
	}
	clear(o.taps[len(kept):])
	o.taps = kept
	o.tapped.Store(len(kept) > 0)
}

// write gives data to the client, or keeps a copy and pauses the stream.
func (t *tap) write(data []byte) {
	if len(t.pending) > 0 { // the last drain of a container that has ended
		t.pending = append(t.pending, data...)
		return
	}
	n, err := unix.Write(t.fd, data)
	if n < 0 {
		n = 0
	}
	if err != nil && !again(err) {
		t.drop()
		return
	}
	if n == len(data) {
		return
	}
	t.pending = append([]byte(nil), data[n:]...)
	t.since = time.Now()
	t.src.all.stalled[t] = struct{}{}
	t.src.waiting++
	t.src.all.poll.change(t.fd, unix.EPOLLOUT)
}

// handle continues a write, or notices that the client has left.
func (t *tap) handle(events uint32) {
	if t.fd < 0 {
		return
	}
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		t.drop()
		return
	}
	n, err := unix.Write(t.fd, t.pending)
	if err != nil && !again(err) {
		t.drop()
		return
	}
	if n > 0 {
		t.pending = t.pending[n:]
	}
	if len(t.pending) == 0 {
		t.src.all.poll.change(t.fd, 0)
		t.settle()
		if t.src.ended {
			t.close()
		}
	}
}

// settle ends a stall and lets the stream go on.
func (t *tap) settle() {
	if _, ok := t.src.all.stalled[t]; !ok {
		return
	}
	delete(t.src.all.stalled, t)
	t.pending = nil
	t.src.waiting--
	if t.src.waiting == 0 && !t.src.ended {
		t.src.listen()
	}
}

func (t *tap) close() {
	if t.fd < 0 {
		return
	}
	t.src.all.poll.remove(t.fd)
	unix.Close(t.fd)
	t.fd = -1
}

// drop lets a client go that left, failed or hangs.
func (t *tap) drop() {
	t.close()
	t.settle()
}

func (a *outputs) nextDeadline() time.Time {
	var first time.Time
	for t := range a.stalled {
		if first.IsZero() || t.since.Before(first) {
			first = t.since
		}
	}
	if first.IsZero() {
		return first
	}
	return first.Add(patience)
}

func (a *outputs) dropHung(now time.Time) {
	for t := range a.stalled {
		if now.Sub(t.since) >= patience {
			t.drop()
			t.src.sweep()
		}
	}
}
