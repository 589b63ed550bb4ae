package netlink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Running tells when links begin to carry packets, from the kernel's events.
type Running struct {
	events *Conn // subscribed; only read from
	ask    *Conn

	mu      sync.Mutex
	waiters map[int]chan struct{}
}

// WatchRunning subscribes to the links of the caller's namespace. Questions
// about their present state go through ask.
func WatchRunning(ask *Conn) (*Running, error) {
	events, err := DialRoute(nil)
	if err != nil {
		return nil, err
	}
	if err := events.nl.JoinGroup(unix.RTNLGRP_LINK); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribing to link events: %w", cause(err)), events.Close())
	}
	r := &Running{events: events, ask: ask, waiters: map[int]chan struct{}{}}
	go r.read()
	return r, nil
}

// Close ends the subscription.
func (r *Running) Close() error { return r.events.Close() }

func (r *Running) read() {
	for {
		msgs, err := r.events.nl.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS): // events were lost
			r.wake(-1)
		case errors.Is(err, net.ErrClosed), err != nil:
			return
		}
		for _, m := range msgs {
			if m.Header.Type != unix.RTM_NEWLINK {
				continue
			}
			if l, err := parseLink(m.Data); err == nil && l.Running {
				r.wake(l.Index)
			}
		}
	}
}

// wake wakes who waits for a link, or everybody with -1.
func (r *Running) wake(index int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range r.waiters {
		if index == i || index == -1 {
			close(c)
			delete(r.waiters, i)
		}
	}
}

// recheck is how long an event is waited for before the state is asked again:
// a safety net for an event that never comes.
const recheck = 100 * time.Millisecond

// Wait returns when the link carries packets.
func (r *Running) Wait(ctx context.Context, name string, index int) error {
	for {
		r.mu.Lock()
		c := r.waiters[index]
		if c == nil {
			c = make(chan struct{})
			r.waiters[index] = c
		}
		r.mu.Unlock()
		l, err := r.ask.Link(name)
		if err == nil && l.Running {
			r.wake(index)
			return nil
		}
		if err != nil {
			r.wake(index)
			return err
		}
		timer := time.NewTimer(recheck)
		select {
		case <-c:
			timer.Stop()
			// The event itself says it, and the state does not go back.
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			r.wake(index)
			return fmt.Errorf("waiting for link %q to carry packets: %w", name, ctx.Err())
		}
	}
}
