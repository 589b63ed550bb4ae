// Package reconcile is the engine that every controller runs on. It knows no
// kind: it holds keys, and calls one function per key.
//
// A Loop guarantees:
//   - a key is never reconciled by two workers at once;
//   - an Add during a run leads to one more run after it;
//   - a failed run is tried again after an exponential, jittered delay that is
//     kept per key, and at once when an event adds the key again;
//   - a panic in one key's run is that key's failure, not the process's;
//   - a Loop with nothing to do has no goroutine and no timer;
//   - Run returns after the runs in progress have ended.
//
// A worked example:
//
//	loop := reconcile.New(reconcile.Options[cache.ObjectName]{
//		Name:      "replicaset",
//		Reconcile: c.Reconcile,
//	})
//	loop.Watch(informer, func(object metav1.Object) { loop.Add(cache.MetaObjectToName(object)) })
//	err := loop.Run(ctx)
//
// The queue of client-go was weighed and left: each of its delaying queues
// keeps a ticker, and skiff at rest has none.
package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

const (
	// DefaultWorkers bounds the keys of one loop that run at the same time.
	DefaultWorkers = 4
	// DefaultMinBackoff is the delay before the first retry; a write conflict
	// is usually resolved by then, because the newer object has arrived.
	DefaultMinBackoff = 5 * time.Millisecond
	// DefaultMaxBackoff bounds the delay. Upstream waits up to 1000 s; we look
	// twice a minute so that a fault that leaves no event behind heals soon.
	DefaultMaxBackoff = 30 * time.Second
	// stopGrace is how long runs in progress may go on after the stop, before
	// their context ends too.
	stopGrace = 3 * time.Second
)

// Result is what a run asks for.
type Result struct {
	// After, if positive, is when the key wants to be looked at again without
	// any event. The last run of a key decides: zero cancels an earlier wish.
	After time.Duration
}

// Options configures a Loop. Name and Reconcile are required.
type Options[K comparable] struct {
	// Name is the controller's name in logs and metrics.
	Name string
	// Reconcile brings the world of one key closer to what is desired.
	Reconcile func(context.Context, K) (Result, error)
	// Workers bounds the keys that run at the same time.
	Workers int
	// Spacing is the least time between the end of a run and the start of the
	// next run of the same key. The first event is answered at once, a storm
	// of events is answered once per Spacing.
	Spacing time.Duration

	MinBackoff, MaxBackoff time.Duration
	Clock                  clock.WithDelayedExecution
	Log                    *slog.Logger
	Metrics                *Metrics
}

// Loop is a keyed queue with workers.
type Loop[K comparable] struct {
	Options[K]
	synced []cache.DoneChecker

	mu      sync.Mutex
	entries map[K]*entry
	fifo    []K
	workers int
	open    bool
	ctx     context.Context
	wg      sync.WaitGroup
}

// entry is the state of one key; a key that is idle has none.
type entry struct {
	queued, running, cooling, dirty bool
	failures                        int
	added                           time.Time
	later, cool                     clock.Timer
}

// New returns a loop that accepts keys at once and works them off in Run.
func New[K comparable](o Options[K]) *Loop[K] {
	if o.Workers == 0 {
		o.Workers = DefaultWorkers
	}
	if o.MinBackoff == 0 {
		o.MinBackoff = DefaultMinBackoff
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = DefaultMaxBackoff
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Loop[K]{Options: o, entries: map[K]*entry{}}
}

// Add asks for a run of the key. It never blocks.
func (l *Loop[K]) Add(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(key)
}

// AddAfter asks for a run of the key after d, unless a run in between decides
// otherwise.
func (l *Loop[K]) AddAfter(key K, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addAfter(key, d)
}

// Run waits for the caches of Watch, works until ctx ends, and returns when the
// runs in progress have ended.
func (l *Loop[K]) Run(ctx context.Context) error {
	if !cache.WaitFor(ctx, "", l.synced...) {
		return nil
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l.mu.Lock()
	l.open, l.ctx = true, work
	for range min(len(l.fifo), l.Workers) {
		l.hire()
	}
	l.mu.Unlock()

	<-ctx.Done()
	l.close()
	impatient := time.AfterFunc(stopGrace, cancel)
	defer impatient.Stop()
	l.wg.Wait()
	return nil
}

func (l *Loop[K]) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = false
	l.fifo = nil
	for _, e := range l.entries {
		e.stop()
	}
	l.entries = map[K]*entry{}
}

func (e *entry) stop() {
	if e.later != nil {
		e.later.Stop()
		e.later = nil
	}
	if e.cool != nil {
		e.cool.Stop()
		e.cool = nil
	}
}

func (l *Loop[K]) entry(key K) *entry {
	e := l.entries[key]
	if e == nil {
		e = &entry{}
		l.entries[key] = e
	}
	return e
}

func (l *Loop[K]) add(key K) {
	if l.stopped() {
		return
	}
	e := l.entry(key)
	switch {
	case e.queued:
	case e.running || e.cooling:
		e.dirty = true
	default:
		l.push(key, e)
	}
}

func (l *Loop[K]) stopped() bool { return !l.open && l.ctx != nil }

func (l *Loop[K]) push(key K, e *entry) {
	e.queued, e.added = true, l.Clock.Now()
	l.fifo = append(l.fifo, key)
	l.Metrics.depth(l.Name, len(l.fifo))
	if l.open && l.workers < l.Workers {
		l.hire()
	}
}

func (l *Loop[K]) addAfter(key K, d time.Duration) {
	if l.stopped() {
		return
	}
	e := l.entry(key)
	if e.later != nil {
		e.later.Stop()
	}
	var timer clock.Timer
	timer = l.Clock.AfterFunc(d, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.entries[key] != e || e.later != timer {
			return
		}
		e.later = nil
		l.add(key)
	})
	e.later = timer
}
