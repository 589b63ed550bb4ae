package kubelet

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"go.skiff.dev/skiff/internal/kubelet/probe"
)

// worker is the state machine of one pod. Its loop is the only goroutine that
// touches the fields below the mailbox; everything that takes time runs as an
// operation in a goroutine of its own and posts its result into the mailbox.
type worker struct {
	k    *Kubelet
	uid  types.UID
	wake chan struct{}

	mu    sync.Mutex
	inbox inbox

	ctx    context.Context
	cancel context.CancelFunc

	// desired is the pod as the API has it, pod the same with the resources that it
	// was given; they are one unless a resize waits.
	desired, pod *v1.Pod
	allocation   *allocation
	resize       resize

	view   view
	stale  bool // the view has to be read again
	memory map[string]containerMemory
	// cancels end the operations under way, by container name.
	cancels map[string]context.CancelFunc
	probes  map[probeKey]probeRun

	admitted    bool
	static      bool
	removed     bool
	termination *termination
	killGrace   map[string]int64

	prepared, preparing, sandboxBusy bool
	// dirty: volumes may show something old.
	dirty                      bool
	prepareRetry, sandboxRetry retry
	prepareAt, sandboxAt       time.Time
	refreshAt                  time.Time
	imageRetry                 map[string]*retry
	cleaned, finalSent         bool
	// last is the status that was computed last.
	last *v1.PodStatus
}

// inbox is what happened since the worker last looked.
type inbox struct {
	pod     *v1.Pod
	removed bool
	runtime bool
	results []func()
}

func newWorker(k *Kubelet, uid types.UID) *worker {
	return &worker{
		k: k, uid: uid,
		wake:         make(chan struct{}, 1),
		stale:        true,
		memory:       map[string]containerMemory{},
		cancels:      map[string]context.CancelFunc{},
		probes:       map[probeKey]probeRun{},
		killGrace:    map[string]int64{},
		imageRetry:   map[string]*retry{},
		prepareRetry: retry{first: time.Second, limit: 2 * time.Minute},
		sandboxRetry: retry{first: time.Second, limit: time.Minute},
		resize:       resize{retry: retry{first: time.Second, limit: 30 * time.Second}},
	}
}

// tell changes the mailbox and wakes the worker.
func (w *worker) tell(change func(*inbox)) {
	w.mu.Lock()
	change(&w.inbox)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

// post runs f in the worker's loop.
func (w *worker) post(f func()) { w.tell(func(i *inbox) { i.results = append(i.results, f) }) }

// run is the worker's loop. It returns when the pod is gone, or ctx ends: then
// everything is left as it is, to be found again.
func (w *worker) run(ctx context.Context) {
	w.ctx, w.cancel = context.WithCancel(ctx)
	defer w.cancel()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		next, gone := w.sync()
		if gone {
			return
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(time.Until(next), 0))
		}
	}
}

// sync looks at the whole pod once. It returns when to look again and whether
// nothing of the pod is left.
func (w *worker) sync() (next time.Time, gone bool) {
	w.receive()
	if w.pod == nil {
		return time.Time{}, false
	}
	if w.stale {
		v, err := observe(w.ctx, w.k.deps.Runtime, string(w.uid))
		if err != nil {
			w.k.log.Warn("observing pod", "pod", podName(w.pod), "err", err)
			return time.Now().Add(time.Second), false
		}
		w.view, w.stale = v, false
	}
	now := time.Now()
	if !w.admitted {
		w.admit(now)
	}
	w.checkEnd(now)
	w.settleResources(now)
	w.notePulls(now)
	due := !w.refreshAt.IsZero() && !now.Before(w.refreshAt)
	if w.prepared && !w.preparing && w.termination == nil && (w.dirty || due) {
		w.refreshAt = time.Time{}
		w.actPrepare()
	}
	s := w.situation(now)
	w.followResize(&s)
	p := makePlan(s)
	w.note(&p)
	for _, a := range p.Actions {
		w.act(a)
	}
	if w.probesAllowed() {
		w.syncProbes()
	}
	p.wakeAt(w.deadline())
	if w.resize.at.After(now) {
		p.wakeAt(w.resize.at)
	}
	if w.prepared && w.termination == nil {
		p.wakeAt(w.refreshAt)
	}
	if p.Over {
		return p.Wake, w.finish()
	}
	w.report(false)
	return p.Wake, false
}

// receive takes the mailbox.
func (w *worker) receive() {
	w.mu.Lock()
	in := w.inbox
	w.inbox = inbox{}
	w.mu.Unlock()
	if in.pod != nil {
		if w.pod != nil && w.prepared && (!maps.Equal(w.pod.Labels, in.pod.Labels) || !maps.Equal(w.pod.Annotations, in.pod.Annotations)) {
			w.dirty = true // the downward API shows them
		}
		w.takePod(in.pod)
		w.static = isStatic(in.pod)
	}
	w.removed = w.removed || in.removed
	w.stale = w.stale || in.runtime
	for _, apply := range in.results {
		apply()
	}
}

func (w *worker) situation(now time.Time) situation {
	return situation{
		Pod: w.pod, View: w.view, Memory: w.memory, Termination: w.termination,
		Prepared: w.prepared, Preparing: w.preparing, SandboxBusy: w.sandboxBusy,
		PrepareAt: w.prepareAt, SandboxAt: w.sandboxAt, Resize: w.resizeView(), Now: now,
	}
}

// checkEnd notices reasons for the pod to end: its deletion, its removal, its
// deadline, or that an earlier run of skiff already reported it as final.
func (w *worker) checkEnd(now time.Time) {
	deleted := w.removed || w.pod.DeletionTimestamp != nil
	grace := gracePeriod(w.pod)
	switch {
	case w.termination != nil:
		if deleted && grace < w.termination.Grace {
			w.shorten(grace, now)
		}
	case deleted:
		w.end(termination{Since: now, Grace: grace})
	case over(w.pod.Status.Phase):
		w.end(termination{Since: now, Grace: grace})
	default:
		if at := w.deadline(); !at.IsZero() && !now.Before(at) {
			w.k.events.pod(w.pod, v1.EventTypeNormal, "DeadlineExceeded", deadlineMessage)
			w.end(termination{Since: now, Grace: grace, Phase: v1.PodFailed, Reason: "DeadlineExceeded", Message: deadlineMessage})
		}
	}
}

const deadlineMessage = "Pod was active on the node longer than the specified deadline"

// deadline is when the pod's activeDeadlineSeconds are over; zero: never.
func (w *worker) deadline() time.Time {
	if w.termination != nil || w.pod.Spec.ActiveDeadlineSeconds == nil || w.pod.Status.StartTime == nil {
		return time.Time{}
	}
	return w.pod.Status.StartTime.Add(time.Duration(*w.pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

// end starts the pod's termination: starts under way are given up.
func (w *worker) end(t termination) {
	if t.Grace < 1 {
		t.Grace = 1 // as upstream: even a forced end gives a process one second
	}
	w.termination = &t
	for name, cancel := range w.cancels {
		if _, killing := w.killGrace[name]; !killing {
			cancel()
		}
	}
	w.stopProbes(probe.Startup, probe.Liveness)
}

// shorten gives a pod that is ending less time: kills under way start again
// with what is left.
func (w *worker) shorten(grace int64, now time.Time) {
	w.termination.Grace = max(grace, 1)
	w.termination.Since = now
	for name, old := range w.killGrace {
		if c := w.view.latest(name); old > grace && !c.ended() && c != nil {
			w.killGrace[name] = grace
			id := c.ID
			go func() { _ = w.k.stopContainer(w.ctx, id, grace) }()
		}
	}
	for name, m := range w.memory {
		if _, killing := w.killGrace[name]; m.Busy && m.Hooked != "" && !killing {
			w.cancels[name]() // a sidecar's hook that runs before its turn
		}
	}
}

// operation runs f for a container in a goroutine of its own. The container is
// busy until done has been applied.
func (w *worker) operation(name string, f func(ctx context.Context) (done func())) {
	ctx, cancel := context.WithCancel(w.ctx)
	w.cancels[name] = cancel
	m := w.memory[name]
	m.Busy = true
	w.memory[name] = m
	go func() {
		done := f(ctx)
		cancel()
		if errors.Is(w.ctx.Err(), context.Canceled) {
			return
		}
		w.tell(func(i *inbox) {
			i.runtime = true
			i.results = append(i.results, func() {
				delete(w.cancels, name)
				delete(w.killGrace, name)
				m := w.memory[name]
				m.Busy, m.Starting = false, false
				w.memory[name] = m
				if done != nil {
					done()
				}
			})
		})
	}()
}

func (w *worker) remember(name string, change func(*containerMemory)) {
	m := w.memory[name]
	change(&m)
	w.memory[name] = m
}
