package supervisor

import (
	"fmt"
	"runtime"
	"sync"
	"time"
)

const (
	// stuckTime is how long all writers may be busy before what waits gets one more.
	stuckTime = 5 * time.Millisecond
	// logPatience is how long the end, the beginning and the reopening of a container wait for the disk of its log.
	logPatience = 10 * time.Second
	// quietTime is how long an upgrade waits for what is on its way to the logs.
	quietTime = 2 * time.Second
	// smallChunk is what a writer beside the first reads at a time: there may be one for each log on a disk that hangs.
	smallChunk = 16 << 10
)

// writers do what may wait for a disk, which is everything that is done to a log. Jobs of one log are done in their order,
// one at a time. One writer is enough as long as no disk makes it wait; when all have been busy for a while, the rest
// gets one more, so that a log whose disk hangs holds up no other. It costs a thread and two small buffers until the disk
// answers; what the container writes meanwhile stays in its pipe, and the container waits.
//
//	poller            a stream has output   -> do(log, move a chunk)
//	request, reaping  open, reopen, close   -> within(log, ...), which waits for logPatience at most
type writers struct {
	dir string // of the pages of what is on its way; empty: it is not kept safe

	mu    sync.Mutex
	wake  *sync.Cond
	queue []*logFile // logs with jobs, none of which is under way
	all   map[*writer]struct{}
	idle  int
	armed bool // watch will look at the queue again
	quiet chan struct{}
}

// writer is one goroutine of writers. Its buffers are there once it has moved output.
type writer struct {
	first   bool
	in, out []byte
	// flight keeps the chunk on its way safe; nil: it is just read.
	flight *inflight
	tried  bool
	// now is the log it works on, since when; fields of writers.
	now   *logFile
	since time.Time
}

func newWriters() *writers {
	w := &writers{all: map[*writer]struct{}{}}
	w.wake = sync.NewCond(&w.mu)
	return w
}

// do puts a job behind those of the same log.
func (w *writers) do(l *logFile, job func(*writer)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.jobs = append(l.jobs, job)
	if l.active {
		return
	}
	l.active = true
	w.push(l)
}

func (w *writers) push(l *logFile) {
	w.queue = append(w.queue, l)
	switch {
	case len(w.all) == 0:
		w.add(&writer{first: true})
	case w.idle > 0:
		w.wake.Signal()
	}
	w.watch()
}

func (w *writers) add(me *writer) {
	w.all[me] = struct{}{}
	go w.work(me)
}

// watch looks again later when more logs wait than writers.
func (w *writers) watch() {
	if w.armed || len(w.queue) <= w.idle {
		return
	}
	w.armed = true
	time.AfterFunc(stuckTime, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.armed = false
		if len(w.queue) > w.idle && w.stuck() {
			w.add(&writer{})
		}
		w.watch()
	})
}

// stuck tells that no writer will look at the queue soon.
func (w *writers) stuck() bool {
	now := time.Now()
	for me := range w.all {
		if me.now == nil || now.Sub(me.since) < stuckTime {
			return false
		}
	}
	return true
}

// work does jobs. The first writer stays, and one more if there ever was one: the first may be busy for good.
func (w *writers) work(me *writer) {
	if !me.first {
		runtime.LockOSThread() // which ends with this goroutine; threads of others never do
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.queue) == 0 {
			if !me.first && w.idle > 0 {
				delete(w.all, me)
				if me.flight != nil {
					me.flight.close()
				}
				return
			}
			w.idle++
			w.wake.Wait()
			w.idle--
		}
		l := w.queue[0]
		w.queue = w.queue[1:]
		job := l.jobs[0]
		l.jobs = l.jobs[1:]
		me.now, me.since = l, time.Now()
		w.watch()
		w.mu.Unlock()
		job(me)
		w.mu.Lock()
		w.finished(me, l)
	}
}

func (w *writers) finished(me *writer, l *logFile) {
	me.now, l.stuck = nil, false
	if len(l.jobs) > 0 {
		w.queue = append(w.queue, l)
	} else {
		l.active, l.jobs = false, nil
	}
	if w.quiet != nil && w.busy() == nil {
		close(w.quiet)
		w.quiet = nil
	}
}

// busy returns a log with jobs.
func (w *writers) busy() *logFile {
	for me := range w.all {
		if me.now != nil {
			return me.now
		}
	}
	if len(w.queue) > 0 {
		return w.queue[0]
	}
	return nil
}

// await waits until nothing is to do, or says which log is busy for too long.
func (w *writers) await(patience time.Duration) error {
	w.mu.Lock()
	if w.busy() == nil {
		w.mu.Unlock()
		return nil
	}
	quiet := make(chan struct{})
	w.quiet = quiet
	w.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-time.After(patience):
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = nil
	if l := w.busy(); l != nil {
		return l.blocked()
	}
	return nil
}

// within does a job and waits for it, but not for ever, and not again for a log that used up its time once. The job is
// done in any case, when the disk answers.
func (w *writers) within(l *logFile, job func(*writer)) error {
	done := make(chan struct{})
	w.do(l, func(me *writer) { defer close(done); job(me) })
	w.mu.Lock()
	patience := logPatience
	if l.stuck {
		patience = 0
	}
	w.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-done:
		return nil
	default:
	}
	l.stuck = true
	return l.blocked()
}

func (l *logFile) blocked() error {
	return fmt.Errorf("the disk of the log %q does not answer", l.opts.Path)
}

// buffers makes the writer ready to move output of a pipe, whose way is kept safe if it can be.
func (w *writers) buffers(me *writer) {
	if me.in == nil {
		size := smallChunk
		if me.first {
			size = chunk
		}
		me.in = make([]byte, size)
	}
	if !me.tried && w.dir != "" {
		me.tried = true
		me.flight, _ = openInflight(w.dir)
	}
}
