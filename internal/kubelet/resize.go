package kubelet

import (
	"encoding/json"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// resize is what a worker knows of changes of its pod's resources while it runs
// (KEP-1287): what is wanted and not given yet, and what was given and is not in
// the cgroups yet.
type resize struct {
	// pending and progress are the pod's conditions of those two; nil: neither.
	pending, progress *v1.PodCondition
	// asked: the pod waits for an answer, or got one that was no.
	asked bool
	// undecided: there is no answer yet. The status goes on to speak of what the
	// pod's specification was before.
	undecided bool
	// active: the cgroups may differ from what was given; busy: they are being changed.
	active, busy bool
	retry        retry
	at           time.Time
	// pod are the limits of the pod's own cgroup, once they are known.
	pod   sizes
	known bool
}

// Reasons of events, as upstream spells them.
const (
	eventResizeStarted    = "ResizeStarted"
	eventResizeCompleted  = "ResizeCompleted"
	eventResizeDeferred   = "ResizeDeferred"
	eventResizeInfeasible = "ResizeInfeasible"
	eventResizeError      = "ResizeError"
)

// adoptResources finds out what a pod that an earlier run of skiff let in was given, and
// what was told of its resizes.
func (w *worker) adoptResources() {
	a, resized, err := w.k.findAllocation(w.pod, &w.view)
	if err != nil {
		// A damaged file: what runs is brought to what is wanted.
		w.warn("adopting pod", err)
		a, resized = allocationOf(w.pod), true
	}
	w.allocation, w.resize.active = a, resized
	w.pod = a.onto(w.desired)
	for i := range w.pod.Status.Conditions {
		c := w.pod.Status.Conditions[i]
		switch c.Type {
		case v1.PodResizePending:
			w.resize.pending = &c
		case v1.PodResizeInProgress:
			w.resize.progress, w.resize.active = &c, true
		}
	}
}

// takePod takes in a version of the pod from the API.
func (w *worker) takePod(pod *v1.Pod) {
	given := pod
	if w.desired == nil || w.pod != w.desired || pod.Generation != w.desired.Generation {
		given = w.allocation.onto(pod)
	}
	if w.pod != nil {
		eachContainer(pod, func(c *v1.Container) {
			if old := findContainer(w.pod, c.Name); old != nil && old.Image != c.Image {
				w.startAfresh(c.Name)
			}
		})
	}
	w.desired, w.pod = pod, given
}

// startAfresh forgets what holds back the next start of a container: it was for
// another image.
func (w *worker) startAfresh(name string) {
	delete(w.imageRetry, name)
	w.remember(name, func(m *containerMemory) {
		m.Backoff, m.Waiting, m.RetryAt, m.PullBackOffAt = backoff{}, nil, time.Time{}, time.Time{}
	})
}

// settleResources asks for what the pod wants beyond what it was given.
func (w *worker) settleResources(now time.Time) {
	w.resize.undecided = false
	if w.allocation == nil {
		return // not let in
	}
	if w.termination != nil || w.pod == w.desired {
		w.resize.pending = nil
		if w.resize.asked {
			w.resize.asked = false
			w.k.admission.withdraw(w.pod)
		}
		return
	}
	since := now
	if w.resize.pending != nil {
		since = w.resize.pending.LastTransitionTime.Time
	}
	w.resize.asked = true
	switch answer := w.k.admission.ask(w.pod, w.desired, since); {
	case answer.Given:
		w.give(now)
	case answer.Reason != "":
		w.putOff(answer, now)
	default:
		w.resize.undecided = true
	}
}

// give takes what the pod asked for: written down first, so that nothing in a
// cgroup is ever more than a restart of skiff knows of.
func (w *worker) give(now time.Time) {
	wanted := allocationOf(w.desired)
	if err := w.k.saveAllocation(w.pod, wanted); err != nil {
		w.warn("writing down what a pod was given", err)
		w.resize.at, w.resize.undecided = now.Add(w.resize.retry.next()), true
		return
	}
	w.allocation, w.pod = wanted, w.desired
	w.resize.asked, w.resize.active = false, true
	w.resize.pending, w.resize.at = nil, time.Time{}
	w.resize.retry.reset()
	w.resize.progress = resizeCondition(v1.PodResizeInProgress, nil, answer{}, w.pod.Generation, now)
	w.dirty = w.dirty || w.prepared // the downward API shows them
	w.k.weigh(w.pod)
	w.k.events.pod(w.pod, v1.EventTypeNormal, eventResizeStarted, resizeText("Pod resize started", w.pod, w.pod.Generation, ""))
}

// putOff says why the pod does not get what it wants.
func (w *worker) putOff(a answer, now time.Time) {
	old := w.resize.pending
	w.resize.pending = resizeCondition(v1.PodResizePending, old, a, w.desired.Generation, now)
	if old != nil && old.Reason == a.Reason && old.ObservedGeneration == w.desired.Generation {
		return
	}
	event := eventResizeDeferred
	if a.Reason == v1.PodReasonInfeasible {
		event = eventResizeInfeasible
	}
	w.k.events.pod(w.pod, v1.EventTypeWarning, event, resizeText("Pod resize "+a.Reason, w.desired, w.desired.Generation, a.Message))
}

// followResize notices that a resize has come to its end, or was found under way.
func (w *worker) followResize(s *situation) {
	if w.termination != nil {
		w.resize.progress, w.resize.active, s.Resize.Active = nil, false, false
	}
	switch {
	case !w.resize.active:
		return
	case s.resizing():
		if w.resize.progress == nil && w.resize.known {
			w.resize.progress = resizeCondition(v1.PodResizeInProgress, nil, answer{}, w.pod.Generation, s.Now)
		}
		return
	case w.resize.progress != nil:
		w.k.events.pod(w.pod, v1.EventTypeNormal, eventResizeCompleted, resizeText("Pod resize completed", w.pod, w.resize.progress.ObservedGeneration, ""))
		w.resize.progress = nil
	}
	// A container that is being started may have begun with the old resources.
	busy := w.resize.busy
	for _, m := range w.memory {
		busy = busy || m.Busy
	}
	w.resize.active = busy
	s.Resize.Active = busy
}

// resizeView is what plans see of it.
func (w *worker) resizeView() resizeView {
	r := &w.resize
	return resizeView{Active: r.active, Busy: r.busy, At: r.at, Pod: r.pod, Known: r.known}
}

// observed is the pod that the status speaks of: as it is given, and of a
// generation that was answered.
func (w *worker) observed() *v1.Pod {
	if !w.resize.undecided {
		return w.pod
	}
	before := *w.pod
	before.Generation = before.Status.ObservedGeneration
	if w.last != nil {
		before.Generation = max(before.Generation, w.last.ObservedGeneration)
	}
	return &before
}

// podSizes are the limits of the pod's own cgroup, for its status.
func (w *worker) podSizes() *sizes {
	if !w.resize.known {
		return nil
	}
	return &w.resize.pod
}

// conditions are those of the pod's status.
func (r *resize) conditions() []v1.PodCondition {
	var all []v1.PodCondition
	for _, c := range []*v1.PodCondition{r.pending, r.progress} {
		if c != nil {
			all = append(all, *c)
		}
	}
	return all
}

// resizeCondition keeps the time of an older one with the same reason.
func resizeCondition(kind v1.PodConditionType, old *v1.PodCondition, a answer, generation int64, now time.Time) *v1.PodCondition {
	at := metav1.NewTime(now)
	c := &v1.PodCondition{
		Type: kind, Status: v1.ConditionTrue, Reason: a.Reason, Message: a.Message,
		ObservedGeneration: generation, LastProbeTime: at, LastTransitionTime: at,
	}
	if old == nil {
		return c
	}
	if old.Reason == a.Reason {
		c.LastTransitionTime = old.LastTransitionTime
		if old.Message == a.Message && old.ObservedGeneration == generation {
			return old
		}
	}
	return c
}

// resizeText is the text of an event, as upstream's: words, and the resources as JSON.
func resizeText(words string, pod *v1.Pod, generation int64, fault string) string {
	type resources struct {
		Name      string                  `json:"name"`
		Resources v1.ResourceRequirements `json:"resources"`
	}
	list := func(all []v1.Container) []resources {
		var out []resources
		for i := range all {
			out = append(out, resources{all[i].Name, all[i].Resources})
		}
		return out
	}
	data, err := json.Marshal(struct {
		InitContainers []resources `json:"initContainers,omitempty"`
		Containers     []resources `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}{list(pod.Spec.InitContainers), list(pod.Spec.Containers), generation, fault})
	if err != nil {
		return words
	}
	return fmt.Sprintf("%s: %s", words, data)
}
