package scheduler

import (
	"container/heap"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	schedv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/utils/clock"
)

const (
	// firstBackoff is what a pod waits at least after its first failure, doubled
	// per failure up to lastBackoff. Upstream begins with 1 s, which a pod that
	// was there before its node would feel.
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 10 * time.Second
)

// place is where a pod is in the queue.
type place int

const (
	// active: waits for its turn. flying: its cycle, its report or its binding
	// is under way. parked: rejected, until an event gives it a chance. backoff:
	// has a chance again, and waits out its delay. gated: has scheduling gates.
	active place = iota
	flying
	parked
	backoff
	gated
)

// waiting is a pod without a node.
type waiting struct {
	pod      *corev1.Pod
	at       place
	index    int
	since    time.Time
	attempts int
	until    time.Time
	wakes    event
	// began is the number of the last event before the pod's last cycle.
	began uint64
	timer clock.Timer
	// changed: the pod itself changed while flying.
	changed bool
}

// queue holds the pods without a node. Its owner holds the lock.
type queue struct {
	clock clock.WithDelayedExecution
	// lock and ready belong to the owner: timers take lock, ready is called
	// when a pod became active.
	locked func(func())
	ready  func()
	pods   map[types.UID]*waiting
	heap   podHeap
	// seq numbers events; last is the number of the last event of each kind.
	seq  uint64
	last [eventKinds]uint64
}

func newQueue(c clock.WithDelayedExecution, locked func(func()), ready func()) *queue {
	return &queue{clock: c, locked: locked, ready: ready, pods: map[types.UID]*waiting{}}
}

// put adds a pod or takes its newer version.
func (q *queue) put(pod *corev1.Pod) {
	w := q.pods[pod.UID]
	if w == nil {
		w = &waiting{pod: pod, index: -1, since: q.clock.Now()}
		q.pods[pod.UID] = w
		q.enter(w)
		return
	}
	differs := needsDiffer(w.pod, pod)
	w.pod = pod
	if !differs {
		return
	}
	switch w.at {
	case flying:
		w.changed = true
	case active:
		heap.Fix(&q.heap, w.index)
	default:
		q.stopTimer(w)
		q.enter(w)
	}
}

// enter puts a pod among the active ones, or among the gated ones.
func (q *queue) enter(w *waiting) {
	if len(w.pod.Spec.SchedulingGates) > 0 {
		w.at = gated
		return
	}
	w.at = active
	heap.Push(&q.heap, w)
	q.ready()
}

// drop forgets a pod.
func (q *queue) drop(uid types.UID) {
	w := q.pods[uid]
	if w == nil {
		return
	}
	q.stopTimer(w)
	if w.at == active {
		heap.Remove(&q.heap, w.index)
	}
	delete(q.pods, uid)
}

// pop takes the pod whose turn it is, or nil.
func (q *queue) pop() *waiting {
	if q.heap.Len() == 0 {
		return nil
	}
	w := heap.Pop(&q.heap).(*waiting)
	w.at, w.began, w.changed = flying, q.seq, false
	return w
}

// park puts a rejected pod aside until one of the events. Events that came
// since its cycle began count.
func (q *queue) park(w *waiting, wakes event) {
	if q.pods[w.pod.UID] != w {
		return
	}
	w.attempts++
	w.until = q.clock.Now().Add(delayOf(w.attempts))
	w.wakes = wakes
	w.at = parked
	if w.changed || q.happened(wakes, w.began) {
		q.wake(w)
	}
}

// retry puts a pod back whose scheduling or binding failed for no reason of its own.
func (q *queue) retry(w *waiting) {
	if q.pods[w.pod.UID] != w {
		return
	}
	w.attempts++
	w.until = q.clock.Now().Add(delayOf(w.attempts))
	q.wake(w)
}

func delayOf(attempts int) time.Duration {
	if attempts > 16 {
		return lastBackoff
	}
	return min(firstBackoff<<(attempts-1), lastBackoff)
}

func (q *queue) happened(kinds event, since uint64) bool {
	for i := range eventKinds {
		if kinds&(1<<i) != 0 && q.last[i] > since {
			return true
		}
	}
	return false
}

// tell wakes the parked pods that the events give a chance.
func (q *queue) tell(kinds event) {
	if kinds == 0 {
		return
	}
	q.seq++
	for i := range eventKinds {
		if kinds&(1<<i) != 0 {
			q.last[i] = q.seq
		}
	}
	for _, w := range q.pods {
		if w.at == parked && w.wakes&kinds != 0 {
			q.wake(w)
		}
	}
}

// wake makes a pod active as soon as its delay is over.
func (q *queue) wake(w *waiting) {
	left := w.until.Sub(q.clock.Now())
	if left <= 0 {
		q.enter(w)
		return
	}
	w.at = backoff
	var timer clock.Timer
	timer = q.clock.AfterFunc(left, func() {
		q.locked(func() {
			if w.timer == timer && w.at == backoff {
				w.timer = nil
				q.enter(w)
			}
		})
	})
	w.timer = timer
}

func (q *queue) stopTimer(w *waiting) {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// needsDiffer reports whether a change of the pod may change its fate.
func needsDiffer(a, b *corev1.Pod) bool {
	if a.Generation != 0 && a.Generation != b.Generation || len(a.Spec.SchedulingGates) != len(b.Spec.SchedulingGates) ||
		len(a.Spec.Tolerations) != len(b.Spec.Tolerations) || len(a.Labels) != len(b.Labels) {
		return true
	}
	for k, v := range a.Labels {
		if b.Labels[k] != v {
			return true
		}
	}
	return false
}

// podHeap orders by priority, then by time.
type podHeap []*waiting

func (h podHeap) Len() int { return len(h) }

func (h podHeap) Less(i, j int) bool {
	a, b := schedv1.PodPriority(h[i].pod), schedv1.PodPriority(h[j].pod)
	if a != b {
		return a > b
	}
	return h[i].since.Before(h[j].since)
}

func (h podHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *podHeap) Push(x any) {
	w := x.(*waiting)
	w.index = len(*h)
	*h = append(*h, w)
}

func (h *podHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	w.index = -1
	return w
}
