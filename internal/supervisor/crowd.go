package supervisor

import "time"

const (
	// maxEndings bounds how many containers are wound up at once. All of them
	// change the same few directories, so that more only wait for each other in
	// the kernel, each on a thread of its own, and threads never go away again.
	maxEndings = 8
	// maxBeginnings is how many creates are worked on at once, large ones from before they are read, as long as none takes
	// longer than beginningTime: what a heap was blown up for stays scattered over it, and threads never go away.
	maxBeginnings = 4
	largeMessage  = 4 << 10
	beginningTime = time.Second
)

// ending waits until there is room to wind up a container.
func (s *server) ending() (done func()) {
	s.endings <- struct{}{}
	return func() { <-s.endings }
}

// beginning waits until there is room for one more create, or for beginningTime.
func (s *server) beginning() (done func()) {
	timer := time.NewTimer(beginningTime)
	defer timer.Stop()
	select {
	case s.beginnings <- struct{}{}:
		return func() { <-s.beginnings }
	case <-timer.C:
		return func() {}
	}
}
