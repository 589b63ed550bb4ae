package supervisor

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for descriptors with one epoll instance and one goroutine,
// however many there are: a goroutine with a buffer for each stream of each
// container would cost more memory than all the rest of the supervisor.
type poller struct {
	epfd int
	wake int // eventfd

	mu       sync.Mutex
	handlers map[int32]func(events uint32)
	posted   []func()
	closed   bool
	ended    chan struct{} // closed when run has returned

	// deadline, if set, is asked for the next time to wake up; the handler of
	// time is expire.
	deadline func() time.Time
	expire   func(now time.Time)
}

func newPoller() (*poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating an epoll instance: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("creating an eventfd: %w", err)
	}
	p := &poller{epfd: epfd, wake: wake, handlers: map[int32]func(uint32){}}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, wake, &ev); err != nil {
		return nil, fmt.Errorf("watching an eventfd: %w", err)
	}
	return p, nil
}

// add calls handle from the poller's goroutine whenever fd has one of events.
func (p *poller) add(fd int, events uint32, handle func(events uint32)) error {
	p.mu.Lock()
	p.handlers[int32(fd)] = handle
	p.mu.Unlock()
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		p.mu.Lock()
		delete(p.handlers, int32(fd))
		p.mu.Unlock()
		return fmt.Errorf("watching a descriptor: %w", err)
	}
	return nil
}

// change waits for other events; 0 pauses (errors and hang-ups still come, so
// a paused descriptor is taken out with remove).
func (p *poller) change(fd int, events uint32) {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_MOD, fd, &ev)
}

// remove forgets fd; it is called before the descriptor is closed.
func (p *poller) remove(fd int) {
	_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil)
	p.mu.Lock()
	delete(p.handlers, int32(fd))
	p.mu.Unlock()
}

// post runs f in the poller's goroutine.
func (p *poller) post(f func()) {
	p.mu.Lock()
	p.posted = append(p.posted, f)
	p.mu.Unlock()
	p.kick()
}

// call runs f in the poller's goroutine and waits for it.
func (p *poller) call(f func()) {
	done := make(chan struct{})
	p.post(func() { defer close(done); f() })
	<-done
}

// stop ends run and waits for it. What is posted from then on waits for the
// next run.
func (p *poller) stop() {
	p.mu.Lock()
	p.closed = true
	ended := p.ended
	p.mu.Unlock()
	p.kick()
	<-ended
}

// reopen makes the poller ready for run.
func (p *poller) reopen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
	p.ended = make(chan struct{})
}

func (p *poller) kick() {
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// run handles events until stop.
func (p *poller) run() error {
	defer close(p.ended)
	events := make([]unix.EpollEvent, 32)
	for {
		n, err := unix.EpollWait(p.epfd, events, p.timeout())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for events: epoll_wait: %w", err)
		}
		for i := range n {
			fd := events[i].Fd
			if fd == int32(p.wake) {
				var count [8]byte
				_, _ = unix.Read(p.wake, count[:])
				continue
			}
			p.mu.Lock()
			handle := p.handlers[fd]
			p.mu.Unlock()
			if handle != nil {
				handle(events[i].Events)
			}
		}
		if p.runPosted() {
			return nil
		}
		if p.expire != nil {
			p.expire(time.Now())
		}
	}
}

func (p *poller) timeout() int {
	if p.deadline == nil {
		return -1
	}
	at := p.deadline()
	if at.IsZero() {
		return -1
	}
	return max(0, int(time.Until(at).Milliseconds())+1)
}

func (p *poller) runPosted() (stopped bool) {
	p.mu.Lock()
	posted := p.posted
	p.posted = nil
	stopped = p.closed
	p.mu.Unlock()
	for _, f := range posted {
		f()
	}
	return stopped
}
