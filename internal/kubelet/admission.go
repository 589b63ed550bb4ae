package kubelet

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubectl/pkg/util/qos"
)

// admission knows the pods that were let in, with what each was given, so that
// two that come or grow at the same time do not both take the node's last share.
//
// A pod that wants other resources asks. What there is room for is given at once,
// the rest when there is: after a pod went, shrank, or stopped asking, and when
// the node's own size changed. All that wait are then looked at, in their order.
type admission struct {
	node func() *v1.Node
	// tell wakes the worker of a pod whose answer changed.
	tell func(types.UID)

	mu   sync.Mutex
	pods map[types.UID]*v1.Pod
	asks map[types.UID]*ask
	// unseen are pods that were bound to the node before this start, whose workers
	// have not looked at them yet. Until none is left, and all are known, nobody
	// grows: what they have is not counted yet.
	unseen map[types.UID]bool
	known  bool
}

// ask is a pod that wants other resources than it was given.
type ask struct {
	// pod is as it is wanted.
	pod    *v1.Pod
	since  time.Time
	answer answer
}

// answer to a pod that asks. Its zero value: none yet.
type answer struct {
	Given bool
	// Reason is Deferred or Infeasible, if not given.
	Reason, Message string
}

func newAdmission(node func() *v1.Node, tell func(types.UID)) *admission {
	return &admission{node: node, tell: tell, pods: map[types.UID]*v1.Pod{}, asks: map[types.UID]*ask{}, unseen: map[types.UID]bool{}}
}

// coming announces a pod that check or add will be called for.
func (a *admission) coming(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.known {
		a.unseen[uid] = true
	}
}

// allKnown says that all pods that were there at the start have been announced.
func (a *admission) allKnown() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = true
	a.decide()
}

// add takes in a pod that is there already.
func (a *admission) add(pod *v1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pods[pod.UID] = pod
	a.saw(pod.UID)
}

func (a *admission) remove(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pods, uid)
	delete(a.asks, uid)
	delete(a.unseen, uid)
	a.decide()
}

func (a *admission) saw(uid types.UID) {
	if a.unseen[uid] {
		delete(a.unseen, uid)
		a.decide()
	}
}

// list gives the pods that are in.
func (a *admission) list() []*v1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.pods))
}

// check lets a pod in, or says why not.
func (a *admission) check(pod *v1.Pod, node *v1.Node) *refusal {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.saw(pod.UID)
	if r := fits(pod, node, a.others(pod.UID)); r != nil {
		return r
	}
	a.pods[pod.UID] = pod
	return nil
}

func (a *admission) others(uid types.UID) []*v1.Pod {
	others := make([]*v1.Pod, 0, len(a.pods))
	for _, o := range a.pods {
		if o.UID != uid {
			others = append(others, o)
		}
	}
	return others
}

// ask asks for what the pod wants, once more or for the first time. given is the
// pod as it was given until now. When the answer is yes, the room is the pod's.
func (a *admission) ask(given, wanted *v1.Pod, since time.Time) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.asks[wanted.UID]
	if q == nil || !allocationOf(q.pod).equal(allocationOf(wanted)) || q.pod.Generation != wanted.Generation {
		if q != nil {
			since = q.since
			a.pods[given.UID] = withStatus(given, a.pods[given.UID])
		}
		q = &ask{pod: wanted, since: since}
		a.asks[wanted.UID] = q
		a.decide()
	}
	if q.answer.Given {
		delete(a.asks, wanted.UID)
	}
	return q.answer
}

// withdraw says that a pod wants no more than it was given.
func (a *admission) withdraw(given *v1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asks[given.UID] == nil {
		return
	}
	delete(a.asks, given.UID)
	a.pods[given.UID] = withStatus(given, a.pods[given.UID])
	a.decide()
}

// note takes in a pod's new status: a pod that shrinks holds what it had until its
// cgroups say the new.
func (a *admission) note(pod *v1.Pod, status *v1.PodStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.pods[pod.UID]
	if old == nil {
		return
	}
	if q := a.asks[pod.UID]; q != nil && q.answer.Given {
		pod = old // it has got more than it knows
	}
	now := *pod
	now.Status = *status
	a.pods[pod.UID] = &now
	if len(a.asks) > 0 && less(held(&now), held(old)) {
		a.decide()
	}
}

// retry looks at all that wait, after the node itself has changed.
func (a *admission) retry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.decide()
}

// decide answers those that ask, in their order; a.mu is held.
func (a *admission) decide() {
	if len(a.asks) == 0 || !a.known || len(a.unseen) > 0 {
		return
	}
	node := a.node()
	for _, q := range a.inOrder() {
		uid := q.pod.UID
		if q.answer.Given || a.pods[uid] == nil {
			continue
		}
		old := q.answer
		q.answer = mayGrow(a.pods[uid], q.pod, node, a.others(uid))
		if q.answer.Given {
			a.pods[uid] = withStatus(q.pod, a.pods[uid])
		}
		if q.answer != old {
			a.tell(uid)
		}
	}
}

// inOrder sorts those that ask, as upstream: first who asks for no more than it
// has, then by priority, then guaranteed pods, then who asked first.
func (a *admission) inOrder() []*ask {
	all := slices.Collect(maps.Values(a.asks))
	grows := func(q *ask) bool {
		have := a.pods[q.pod.UID]
		return have != nil && less(asked(have), asked(q.pod))
	}
	slices.SortFunc(all, func(x, y *ask) int {
		return cmp.Or(
			cmp.Compare(one(grows(x)), one(grows(y))),
			cmp.Compare(priorityOf(y.pod), priorityOf(x.pod)),
			cmp.Compare(one(qos.GetPodQOS(x.pod) != v1.PodQOSGuaranteed), one(qos.GetPodQOS(y.pod) != v1.PodQOSGuaranteed)),
			x.since.Compare(y.since),
			cmp.Compare(x.pod.UID, y.pod.UID),
		)
	})
	return all
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func priorityOf(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

func withStatus(pod, of *v1.Pod) *v1.Pod {
	if of == nil {
		return pod
	}
	with := *pod
	with.Status = of.Status
	return &with
}
