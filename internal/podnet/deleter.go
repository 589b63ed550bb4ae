package podnet

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/netlink"
)

// deleter removes links. The kernel waits for a grace period for each removal;
// links whose removal is asked for while one is under way go together in the
// next one.
type deleter struct {
	delete func([]string) error

	mu      sync.Mutex
	running bool
	waiting []*removal
}

type removal struct {
	name string
	done chan error
}

// remove returns when the link is gone.
func (d *deleter) remove(name string) error {
	r := &removal{name: name, done: make(chan error, 1)}
	d.mu.Lock()
	d.waiting = append(d.waiting, r)
	if !d.running {
		d.running = true
		go d.work()
	}
	d.mu.Unlock()
	return <-r.done
}

func (d *deleter) work() {
	for {
		d.mu.Lock()
		batch := d.waiting
		d.waiting = nil
		if len(batch) == 0 {
			d.running = false
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		names := make([]string, len(batch))
		for i, r := range batch {
			names[i] = r.name
		}
		err := d.delete(names)
		for _, r := range batch {
			r.done <- err
		}
	}
}

// deleteLinks removes links by name; one that is gone already is fine, as the
// end of a namespace takes its links with it.
func (n *Network) deleteLinks(names []string) error {
	if len(names) == 0 {
		return nil
	}
	group := n.removalGroup()
	var requests []netlink.Request
	for _, name := range names {
		requests = append(requests, netlink.SetGroup(name, group).Ignoring(unix.ENODEV))
	}
	// No link in the group: all of them were gone.
	requests = append(requests, netlink.DeleteGroup(group).Ignoring(unix.ENODEV))
	return n.removals.Do(requests...)
}

// removalGroup is a link group that only this skiff uses: group numbers have
// no registry, so its own comes from a digest of its prefix.
func (n *Network) removalGroup() uint32 {
	sum := sha256.Sum256([]byte("skiff link group " + n.opts.LinkPrefix))
	return binary.BigEndian.Uint32(sum[:]) | 1<<31
}
