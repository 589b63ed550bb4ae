package supervisor

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// chunk is what is read from a container at a time: the size of a pipe.
	chunk = 64 << 10
	// patience is how long an attached client may leave one chunk unread
	// before it is let go: so long, at most, does a hung client hold up the
	// container whose output it asked for.
	patience = 2 * time.Second
)

// outputs reads the containers' output, one chunk per stream and round, and
// writes it to the log and to attached clients. All of it runs in one poller's
// goroutine, which shares two buffers between all containers. A container that
// writes faster than the disk waits in its own pipe.
type outputs struct {
	poll    *poller
	in, out []byte
	stalled map[*tap]struct{}
	// flight keeps chunks of pipes safe on their way; nil: they are just read.
	flight *inflight
}

func newOutputs() (*outputs, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	o := &outputs{poll: p, stalled: map[*tap]struct{}{}}
	p.deadline, p.expire = o.nextDeadline, o.dropHung
	return o, nil
}

// output is one stream of a container: a pipe or a terminal.
type output struct {
	all    *outputs
	fd     int // -1 once it has ended
	stream string
	// name is the container's id and the stream; empty for a terminal, which
	// dies with the supervisor.
	name  string
	log   *logFile
	taps  []*tap
	ended func()
	// waiting counts taps with unwritten data; reading pauses meanwhile.
	waiting int
}

// tap is an attached client's end.
type tap struct {
	src     *output
	fd      int
	pending []byte
	since   time.Time
}

// start begins to read; fd is non-blocking and belongs to the output from now on.
func (o *output) start() error {
	return o.all.poll.add(o.fd, unix.EPOLLIN, func(uint32) { o.readChunk() })
}

// readChunk reports whether there may be more.
func (o *output) readChunk() bool {
	if o.fd < 0 {
		return false
	}
	a := o.all
	if a.in == nil {
		a.in, a.out = make([]byte, chunk), make([]byte, 0, chunk+chunk/8)
	}
	n, err := o.read()
	if n > 0 {
		o.feed(a.in[:n])
		return true
	}
	if again(err) {
		return false
	}
	// End of file; EIO is how a terminal says so.
	o.finish()
	return false
}

// read brings one chunk into the log and into the shared buffer.
func (o *output) read() (n int, err error) {
	a := o.all
	safe := o.name != "" && a.flight != nil
	if safe {
		n, err = a.flight.peek(o.fd, a.in)
	} else {
		n, err = unix.Read(o.fd, a.in)
	}
	if n <= 0 {
		return n, err
	}
	if safe {
		a.flight.writing(o.name, a.in[:n], o.log.inode(), o.log.size)
	}
	a.out = o.log.write(o.stream, a.in[:n], time.Now(), a.out)
	if cap(a.out) > 16*chunk {
		a.out = nil // a storm of empty lines; do not keep its buffer
	}
	if safe {
		err = a.flight.take(o.fd, n)
	}
	return n, err
}

// drain reads what is left after the container's end: everything that its
// processes wrote before the exit is in the log before the exit is reported.
// A process that outlived init with the pipe in its hands does not hold it up.
func (o *output) drain(limit int) {
	for i := 0; i < limit && o.readChunk(); i++ {
	}
}

// finish closes the stream and its taps.
func (o *output) finish() {
	if o.fd < 0 {
		return
	}
	o.all.poll.remove(o.fd)
	unix.Close(o.fd)
	o.fd = -1
	for _, t := range o.taps {
		if len(t.pending) == 0 {
			t.close()
		}
	}
	if o.ended != nil {
		o.ended()
	}
}

// attach adds a client's end, a non-blocking descriptor that belongs to the
// output from now on.
func (o *output) attach(fd int) *tap {
	t := &tap{src: o, fd: fd}
	if o.fd < 0 {
		unix.Close(fd)
		t.fd = -1
		return t
	}
	o.taps = append(o.taps, t)
	// No events asked for: EPOLLERR and EPOLLHUP tell that the reader has left.
	if err := o.all.poll.add(fd, 0, t.handle); err != nil {
		t.drop()
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
	if t.src.waiting == 1 && t.src.fd >= 0 {
		t.src.all.poll.remove(t.src.fd)
	}
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
		if t.src.fd < 0 {
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
	if t.src.waiting == 0 && t.src.fd >= 0 {
		if err := t.src.start(); err != nil {
			t.src.finish()
		}
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

func (o *outputs) nextDeadline() time.Time {
	var first time.Time
	for t := range o.stalled {
		if first.IsZero() || t.since.Before(first) {
			first = t.since
		}
	}
	if first.IsZero() {
		return first
	}
	return first.Add(patience)
}

func (o *outputs) dropHung(now time.Time) {
	for t := range o.stalled {
		if now.Sub(t.since) >= patience {
			t.drop()
			t.src.sweep()
		}
	}
}
