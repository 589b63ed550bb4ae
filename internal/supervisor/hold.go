package supervisor

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Held keeps the pipes of a container, so that what it writes before it ends while there is no supervisor is there for the
// next one. It reads nothing.
type Held struct{ fds []int }

// Hold keeps the pipes of a container that runs; one without pipes has nothing to keep.
func (c *Client) Hold(id string) *Held {
	h := &Held{}
	for _, stream := range []string{"stdout", "stderr"} {
		// Not for Go's poller, which would wake up whenever the container writes.
		fd, err := unix.Open(filepath.Join(recordsIn(c.opts.Dir).pipes(id), stream), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err == nil {
			h.fds = append(h.fds, fd)
		}
	}
	return h
}

// Release lets go of the pipes. It may be called again, and of nil.
func (h *Held) Release() {
	if h == nil {
		return
	}
	for _, fd := range h.fds {
		unix.Close(fd)
	}
	h.fds = nil
}
