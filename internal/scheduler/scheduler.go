// Package scheduler gives each pod a node.
//
// Owns: a pod's node (through the binding subresource), its PodScheduled
// condition while it has none, and its nominated node.
// Reads: pods, nodes, namespaces. Writes: pods/binding, pods/status, pods
// (deletion, to preempt), events.
//
// One goroutine decides, one pod at a time, over a picture of the cluster that
// informer events keep current. A decision is assumed at once, so that the next
// one sees it, and written in parallel; a write that fails takes the assumption
// back. A pod that fits nowhere is parked, with the set of events that might
// change its fate, and costs nothing until one of them happens.
//
// Invariants: no two decisions use the same room; a pod is bound at most once;
// with nothing to schedule there is no timer and no request.
//
// Differences from upstream: the picture is not copied per cycle, since the one
// deciding goroutine holds its lock; every node is looked at; the backoff begins
// at 50 ms; events are of the core group.
package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"go.skiff.dev/skiff/internal/lifecycle"
)

const (
	// Name is the scheduler's name in pods (spec.schedulerName) and events.
	Name = corev1.DefaultSchedulerName
	// writes bounds the requests in flight.
	writes = 64
	// stopGrace is how long writes may go on after the stop.
	stopGrace = 3 * time.Second
)

// Deps is what the scheduler sees of the world.
type Deps struct {
	// Client acts as system:kube-scheduler, without a rate limit.
	Client kubernetes.Interface
	// Informers is shared by the whole process; New registers handlers.
	Informers informers.SharedInformerFactory

	// Optional from here on.
	Clock    clock.WithDelayedExecution
	Log      *slog.Logger
	Recorder record.EventRecorder
}

// Scheduler is the scheduler, ready to run.
type Scheduler struct {
	deps       Deps
	events     record.EventBroadcaster
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	synced     []cache.DoneChecker
	filters    []filter
	scores     []score
	slots      chan struct{}
	inFlight   sync.WaitGroup

	mu       sync.Mutex
	wake     *sync.Cond
	stopped  bool
	snapshot *snapshot
	queue    *queue
}

// New builds the scheduler and registers its handlers with the informers.
func New(d Deps) (*Scheduler, error) {
	if d.Clock == nil {
		d.Clock = clock.RealClock{}
	}
	if d.Log == nil {
		d.Log = slog.Default()
	}
	s := &Scheduler{
		deps: d, snapshot: newSnapshot(), filters: filters(), scores: scores(), slots: make(chan struct{}, writes),
		pods: d.Informers.Core().V1().Pods().Lister(), namespaces: d.Informers.Core().V1().Namespaces().Lister(),
	}
	s.wake = sync.NewCond(&s.mu)
	s.queue = newQueue(d.Clock, s.locked, s.wake.Signal)
	if d.Recorder == nil {
		s.events = record.NewBroadcaster()
		s.deps.Recorder = s.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: Name})
	}
	s.listen()
	return s, nil
}

func (s *Scheduler) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Component runs the scheduler after the named components are ready.
func (s *Scheduler) Component(needs ...string) lifecycle.Component {
	return lifecycle.Component{Name: "scheduler", Needs: needs, Run: s.Run}
}

// Run schedules pods until ctx ends and the writes in flight have ended.
func (s *Scheduler) Run(ctx context.Context, ready func()) error {
	if s.events != nil {
		s.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: s.deps.Client.CoreV1().Events("")})
		defer s.events.Shutdown()
	}
	s.deps.Informers.Start(ctx.Done())
	if !cache.WaitFor(ctx, "", s.synced...) {
		return nil
	}
	ready()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		s.locked(func() { s.stopped = true })
		s.wake.Broadcast()
	})()
	for s.next(work) {
	}
	impatient := time.AfterFunc(stopGrace, cancel)
	defer impatient.Stop()
	s.inFlight.Wait()
	return nil
}

// next waits for a pod and decides about it.
func (s *Scheduler) next(ctx context.Context) bool {
	write, more := s.turn()
	if write == nil {
		return more
	}
	s.slots <- struct{}{}
	s.inFlight.Go(func() {
		defer func() { <-s.slots }()
		write(ctx)
	})
	return true
}

// turn takes the first pod and returns what is to be written about it.
func (s *Scheduler) turn() (write func(context.Context), more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var w *waiting
	for w == nil {
		if s.stopped {
			return nil, false
		}
		if w = s.queue.pop(); w == nil {
			s.wake.Wait()
		}
	}
	defer func() {
		if p := recover(); p != nil {
			s.deps.Log.Error("scheduling a pod panicked", "pod", w.pod.Namespace+"/"+w.pod.Name,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.queue.retry(w)
			write, more = nil, true
		}
	}()
	return s.schedule(w), true
}

// schedule is one cycle; the lock is held.
func (s *Scheduler) schedule(w *waiting) func(context.Context) {
	p := newPodInfo(w.pod)
	c := &cycle{pod: p, nodes: s.snapshot.list(), namespace: s.labelsOf, nominated: s.nominations()}
	v := c.decide(s.filters, s.scores)
	if v.node != "" {
		s.snapshot.assume(p, v.node)
		return func(ctx context.Context) { s.bind(ctx, w, p.pod, v.node) }
	}
	message := v.message()
	way, explanation := c.preempt(s.filters, v)
	if v.total > 0 && explanation != "" {
		message += " preemption: " + explanation
	}
	if way != nil {
		s.snapshot.nominated[w.pod.UID] = &nomination{p, way.node}
		v.wakes |= podGone
	}
	return func(ctx context.Context) { s.reject(ctx, w, p.pod, v.wakes, message, way) }
}

func (s *Scheduler) nominations() map[string][]*podInfo {
	if len(s.snapshot.nominated) == 0 {
		return nil
	}
	list := map[string][]*podInfo{}
	for _, n := range s.snapshot.nominated {
		list[n.node] = append(list[n.node], n.pod)
	}
	return list
}

func (s *Scheduler) labelsOf(namespace string) labels.Set {
	n, err := s.namespaces.Get(namespace)
	if err != nil {
		return nil
	}
	return n.Labels
}
