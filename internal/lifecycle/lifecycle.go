// Package lifecycle starts and stops the parts of a program in order.
//
// A Component says what it is called, which components must be ready before it
// starts, and how it runs. A Group starts its components as their needs become
// ready, waits until all are ready, and stops them in reverse order, each with
// a deadline of its own; whoever misses the deadline is named.
//
// A worked example:
//
//	group := lifecycle.Group{Components: []lifecycle.Component{
//		{Name: "store", Run: runStore},
//		{Name: "apiserver", Needs: []string{"store"}, Run: runAPIServer},
//	}}
//	err := group.Run(ctx, func(stages []lifecycle.Stage) { announceReady(stages) })
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultStopTimeout is the time a component has to return after its context ended.
const DefaultStopTimeout = 10 * time.Second

// Component is one part of the program.
type Component struct {
	// Name is unique within a group.
	Name string
	// Needs names the components that must be ready before Run is called.
	Needs []string
	// Run works until ctx ends; the context is the one stop signal. It calls
	// ready once, when the components that need it may start. A nil error
	// before ctx ends means that the component's work is complete (a one-shot
	// step); an error ends the whole group.
	Run func(ctx context.Context, ready func()) error
	// StopTimeout bounds the stop; zero means DefaultStopTimeout.
	StopTimeout time.Duration
}

// Stage tells when a component became ready.
type Stage struct {
	Name string `json:"name"`
	// Start and Ready are measured from the start of the group.
	Start time.Duration `json:"start"`
	Ready time.Duration `json:"ready"`
}

// Group is a set of components with one life.
type Group struct {
	Components []Component
	// OnReady, if set, is called as each component becomes ready.
	OnReady func(Stage)
}

// Run starts all components and blocks until ctx ends or a component fails.
// allReady is called once when every component is ready. The returned error
// joins the first failure and the names of components that did not stop in time.
func (g *Group) Run(ctx context.Context, allReady func([]Stage)) error {
	if err := g.check(); err != nil {
		return err
	}
	r := newRun(g)
	for i := range g.Components {
		go r.start(ctx, &g.Components[i])
	}
	go func() {
		if r.waitReady() {
			allReady(r.stages())
		}
	}()

	var cause error
	select {
	case <-ctx.Done():
	case cause = <-r.failed:
	}
	return errors.Join(cause, r.stop())
}

// check verifies that names are unique, needs exist, and there is no cycle.
func (g *Group) check() error {
	_, err := g.Order()
	return err
}

// Order returns the components in an order in which each follows its needs,
// keeping the literal order where needs allow it.
func (g *Group) Order() ([]Component, error) {
	known := map[string]bool{}
	for _, c := range g.Components {
		if known[c.Name] {
			return nil, fmt.Errorf("component %q is listed twice", c.Name)
		}
		known[c.Name] = true
	}
	for _, c := range g.Components {
		for _, need := range c.Needs {
			if !known[need] {
				return nil, fmt.Errorf("component %q needs %q, which is not listed", c.Name, need)
			}
		}
	}
	placed := map[string]bool{}
	var order []Component
	for len(order) < len(g.Components) {
		before := len(order)
		for _, c := range g.Components {
			if !placed[c.Name] && allIn(placed, c.Needs) {
				placed[c.Name] = true
				order = append(order, c)
			}
		}
		if len(order) == before {
			return nil, fmt.Errorf("components need each other in a circle: %s", strings.Join(missing(g.Components, placed), ", "))
		}
	}
	return order, nil
}

func allIn(set map[string]bool, names []string) bool {
	for _, n := range names {
		if !set[n] {
			return false
		}
	}
	return true
}

func missing(all []Component, placed map[string]bool) []string {
	var names []string
	for _, c := range all {
		if !placed[c.Name] {
			names = append(names, c.Name)
		}
	}
	return names
}

// run is the state of one Group.Run.
type run struct {
	group  *Group
	began  time.Time
	failed chan error
	parts  map[string]*part
	mu     sync.Mutex
	ready  []Stage
}

type part struct {
	ctx    context.Context
	cancel context.CancelFunc
	ready  chan struct{}
	done   chan struct{}
	once   sync.Once
}

func newRun(g *Group) *run {
	r := &run{group: g, began: time.Now(), failed: make(chan error, len(g.Components)), parts: map[string]*part{}}
	for _, c := range g.Components {
		// Each part's context is cut from the caller's: the group ends parts
		// one by one, in reverse order, after the caller's context ended.
		ctx, cancel := context.WithCancel(context.Background())
		r.parts[c.Name] = &part{ctx: ctx, cancel: cancel, ready: make(chan struct{}), done: make(chan struct{})}
	}
	return r
}

func (r *run) start(ctx context.Context, c *Component) {
	p := r.parts[c.Name]
	defer close(p.done)
	for _, need := range c.Needs {
		select {
		case <-r.parts[need].ready:
		case <-p.ctx.Done():
			return
		case <-ctx.Done():
			return
		}
	}
	began := time.Since(r.began)
	markReady := func() {
		p.once.Do(func() {
			stage := Stage{Name: c.Name, Start: began, Ready: time.Since(r.began)}
			r.mu.Lock()
			r.ready = append(r.ready, stage)
			r.mu.Unlock()
			if r.group.OnReady != nil {
				r.group.OnReady(stage)
			}
			close(p.ready)
		})
	}
	err := c.Run(p.ctx, markReady)
	switch {
	case p.ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
	case err != nil:
		r.failed <- fmt.Errorf("%s: %w", c.Name, err)
	default:
		markReady()
	}
}

// waitReady reports whether every component became ready.
func (r *run) waitReady() bool {
	for _, p := range r.parts {
		select {
		case <-p.ready:
		case <-p.ctx.Done():
			return false
		}
	}
	return true
}

func (r *run) stages() []Stage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Stage(nil), r.ready...)
}

// stop ends the components in reverse order of their needs.
func (r *run) stop() error {
	order, err := r.group.Order()
	if err != nil {
		return err
	}
	var late []error
	for _, c := range slices.Backward(order) {
		p := r.parts[c.Name]
		p.cancel()
		timeout := c.StopTimeout
		if timeout == 0 {
			timeout = DefaultStopTimeout
		}
		timer := time.NewTimer(timeout)
		select {
		case <-p.done:
		case <-timer.C:
			late = append(late, fmt.Errorf("stopping %s: it did not stop within %s", c.Name, timeout))
		}
		timer.Stop()
	}
	return errors.Join(late...)
}
