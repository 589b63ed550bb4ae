package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// hire starts a worker; it leaves when the queue is empty.
func (l *Loop[K]) hire() {
	l.workers++
	l.wg.Go(func() {
		for l.next() {
		}
	})
}

// next runs the first key of the queue.
func (l *Loop[K]) next() bool {
	l.mu.Lock()
	if !l.open || len(l.fifo) == 0 {
		l.workers--
		l.mu.Unlock()
		return false
	}
	key := l.fifo[0]
	l.fifo = l.fifo[1:]
	e := l.entries[key]
	e.queued, e.running, e.dirty = false, true, false
	if e.later != nil {
		e.later.Stop()
		e.later = nil
	}
	began := l.Clock.Now()
	l.Metrics.started(l.Name, len(l.fifo), began.Sub(e.added))
	ctx := l.ctx
	l.mu.Unlock()

	result, err := l.run(ctx, key)
	l.Metrics.finished(l.Name, l.Clock.Since(began), err)
	l.done(key, e, result, err)
	return true
}

// run calls Reconcile and turns a panic into an error.
func (l *Loop[K]) run(ctx context.Context, key K) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reconciling %v: panic: %v\n%s", key, p, debug.Stack())
		}
	}()
	return l.Reconcile(ctx, key)
}

func (l *Loop[K]) done(key K, e *entry, result Result, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.running = false
	if !l.open || l.entries[key] != e {
		return
	}
	if err == nil {
		e.failures = 0
		if result.After > 0 {
			l.addAfter(key, result.After)
		}
	} else {
		delay := l.backoff(e.failures)
		e.failures++
		l.report(key, e.failures, delay, err)
		l.addAfter(key, delay)
	}
	if l.Spacing > 0 {
		l.cool(key, e)
		return
	}
	l.settle(key, e)
}

// cool holds the key back for Spacing.
func (l *Loop[K]) cool(key K, e *entry) {
	e.cooling = true
	e.cool = l.Clock.AfterFunc(l.Spacing, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.entries[key] != e {
			return
		}
		e.cooling, e.cool = false, nil
		l.settle(key, e)
	})
}

// settle queues the key again if it was added meanwhile, or forgets it.
func (l *Loop[K]) settle(key K, e *entry) {
	switch {
	case e.dirty:
		e.dirty = false
		l.push(key, e)
	case e.later == nil && !e.queued:
		delete(l.entries, key)
	}
}

// backoff doubles per failure, and spreads by up to a quarter.
func (l *Loop[K]) backoff(failures int) time.Duration {
	d := l.MaxBackoff
	if failures < 30 {
		d = min(l.MinBackoff<<failures, l.MaxBackoff)
	}
	return d + time.Duration(rand.Int64N(int64(d)/4+1))
}

// report logs a failed run. What is retried is not an error; a key that keeps
// failing is worth a warning, once per doubling.
func (l *Loop[K]) report(key K, failures int, delay time.Duration, err error) {
	level := slog.LevelDebug
	if failures >= 8 && !apierrors.IsConflict(err) {
		level = slog.LevelWarn
	}
	l.Log.Log(context.Background(), level, "reconcile will be tried again",
		"controller", l.Name, "key", fmt.Sprint(key), "failures", failures, "delay", delay, "error", err)
}
