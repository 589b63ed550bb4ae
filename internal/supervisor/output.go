package supervisor

import (
	"sync"
	"sync/atomic"
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

// outputs moves the containers' output, one chunk per stream and round, into the log and to attached clients. The poller
// hears of output and serves the clients, writers move it. A container that writes faster than its disk waits in its own
// pipe.
type outputs struct {
	poll    *poller
	writers *writers
	stalled map[*tap]struct{}

	mu sync.Mutex
	// held collects who has output while an upgrade wants quiet; nil otherwise.
	held map[*output]struct{}
}

func newOutputs() (*outputs, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	o := &outputs{poll: p, writers: newWriters(), stalled: map[*tap]struct{}{}}
	p.deadline, p.expire = o.nextDeadline, o.dropHung
	return o, nil
}

// hold stops moving output and waits for what is on its way; resume goes on.
func (a *outputs) hold() error {
	a.mu.Lock()
	a.held = map[*output]struct{}{}
	a.mu.Unlock()
	return a.writers.await(quietTime)
}

func (a *outputs) resume() {
	a.mu.Lock()
	held := a.held
	a.held = nil
	a.mu.Unlock()
	for o := range held {
		o.listen()
	}
}

// output is one stream of a container: a pipe or a terminal.
type output struct {
	all    *outputs
	fd     int
	stream string
	// name is the container's id and the stream; empty for a terminal, of which no copy can be taken before it is read.
	name string
	log  *logFile
	// closed belongs to the jobs of the log: fd is not ours any more.
	closed bool
	// tapped tells that there are clients.
	tapped atomic.Bool

	// What follows belongs to the poller's goroutine: ended is closed as it sees it, waiting counts taps with unwritten
	// data, for which reading pauses.
	ended   bool
	taps    []*tap
	waiting int
}

// begin starts reading; fd is non-blocking and belongs to the output from now on.
func (o *output) begin() error {
	return o.all.poll.add(o.fd, unix.EPOLLIN|unix.EPOLLONESHOT, func(uint32) { o.ready() })
}

// listen waits for the next output; the poller told of the last and is silent since.
func (o *output) listen() { o.all.poll.change(o.fd, unix.EPOLLIN|unix.EPOLLONESHOT) }

// open is the descriptor, -1 once the stream has ended.
func (o *output) open() int {
	if o.closed {
		return -1
	}
	return o.fd
}

// ready hands one chunk over to the writers.
func (o *output) ready() {
	a := o.all
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held != nil {
		a.held[o] = struct{}{}
		return
	}
	a.writers.do(o.log, func(w *writer) {
		if o.move(w) && !o.feeds(w) {
			o.listen()
		}
	})
}

// move brings one chunk into the log and into the writer's buffer, and reports false at the end of the stream.
func (o *output) move(w *writer) (more bool) {
	if o.closed {
		return false
	}
	o.all.writers.buffers(w)
	n, err := o.read(w)
	w.in = w.in[:max(n, 0)]
	if n > 0 || again(err) {
		return true
	}
	// End of file; EIO is how a terminal says so.
	o.finish()
	return false
}

// feeds gives the writer's chunk to the clients. It reports true when reading goes on only when they have it.
func (o *output) feeds(w *writer) (waiting bool) {
	if len(w.in) == 0 || !o.tapped.Load() {
		return false
	}
	o.all.poll.call(func() {
		o.feed(w.in)
		waiting = o.waiting > 0
	})
	return waiting
}

// read brings one chunk into the log.
func (o *output) read(w *writer) (n int, err error) {
	buf := w.in[:cap(w.in)]
	safe := o.name != "" && w.flight != nil
	if safe {
		n, err = w.flight.peek(o.fd, buf)
	} else {
		n, err = unix.Read(o.fd, buf)
	}
	if n <= 0 {
		return n, err
	}
	if safe {
		_ = o.log.ready() // write tells when it cannot
		w.flight.writing(o.name, buf[:n], o.log.inode(), o.log.size)
	}
	w.out = o.log.write(o.stream, buf[:n], time.Now(), w.out)
	if safe {
		err = w.flight.take(o.fd, n)
	}
	return n, err
}

// drain reads what is left after the container's end: everything that its
// processes wrote before the exit is in the log before the exit is reported.
// A process that outlived init with the pipe in its hands does not hold it up.
func (o *output) drain(w *writer) {
	for moved := 0; moved < drainBytes && o.move(w) && len(w.in) > 0; moved += len(w.in) {
		o.feeds(w)
	}
}

// finish closes the stream and its taps. It is part of a job of the log.
func (o *output) finish() {
	if o.closed {
		return
	}
	o.closed = true
	o.all.poll.remove(o.fd)
	unix.Close(o.fd)
	o.all.poll.call(func() {
		o.ended = true
		for _, t := range o.taps {
			if len(t.pending) == 0 {
				t.close()
			}
		}
	})
}
