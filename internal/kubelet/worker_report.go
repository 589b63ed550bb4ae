package kubelet

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/kubelet/probe"
)

// note turns what a plan says about crash loops into memory and events.
func (w *worker) note(p *plan) {
	for name, delay := range p.Crashing {
		m := w.memory[name]
		waiting := crashLoop(w.pod, name, delay)
		if m.Waiting == nil || m.Waiting.Reason != waiting.Reason || m.Waiting.Message != waiting.Message {
			w.k.events.container(w.pod, name, v1.EventTypeWarning, "BackOff", crashLoopEvent(w.pod, name))
		}
		m.Waiting = waiting
		w.memory[name] = m
	}
}

// notePulls turns failed pulls that wait for their next try into ImagePullBackOff.
func (w *worker) notePulls(now time.Time) {
	for name, m := range w.memory {
		if m.PullBackOffAt.IsZero() || now.Before(m.PullBackOffAt) || m.Waiting == nil || findContainer(w.pod, name) == nil {
			continue
		}
		m.PullBackOffAt = time.Time{}
		m.Waiting = backOffPull(m.PullImage, m.Waiting)
		w.memory[name] = m
		w.k.events.container(w.pod, name, v1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", m.PullImage))
		w.k.events.container(w.pod, name, v1.EventTypeWarning, "Failed", "Error: "+reasonPullBackOff)
	}
}

// finish ends a pod for which nothing runs any more: it reports the final
// status, frees what the pod held, and if the pod was deleted, deletes the API
// object. It reports whether nothing is left of the pod.
func (w *worker) finish() bool {
	w.stopProbes(probe.Startup, probe.Liveness, probe.Readiness)
	if !w.cleaned {
		if err := w.k.release(w.ctx, w.pod); err != nil {
			w.k.log.Warn("releasing pod", "pod", podName(w.pod), "err", err)
		}
		w.cleaned, w.prepared = true, false
	}
	deleted := w.removed || w.pod.DeletionTimestamp != nil
	if !w.finalSent || deleted {
		w.finalSent = true
		if w.termination == nil {
			w.end(termination{Since: time.Now(), Grace: gracePeriod(w.pod)})
		}
		w.report(true)
	}
	if !w.removed {
		return false
	}
	w.k.forget(w.ctx, w.pod, w.view)
	return true
}

// report computes the pod's status and hands it to the writer.
func (w *worker) report(final bool) {
	status := w.k.podStatus(statusInput{
		Pod: w.observed(), View: &w.view, Memory: w.memory, Termination: w.termination,
		Last: w.last, Final: final, Now: time.Now(), Resize: w.resize.conditions(), PodSizes: w.podSizes(),
	})
	w.last = &status
	if w.allocation != nil && w.termination == nil {
		w.k.admission.note(w.pod, &status)
	}
	if w.pod.Status.StartTime == nil && status.StartTime != nil && w.pod.Spec.ActiveDeadlineSeconds != nil {
		// The deadline counts from the start that was just decided.
		one := w.pod == w.desired
		w.pod = w.pod.DeepCopy()
		w.pod.Status.StartTime = status.StartTime
		if one {
			w.desired = w.pod
		}
		w.post(func() {})
	}
	if w.removed && !w.static || w.pod.Annotations[annotationOrphan] != "" {
		return // nobody to report to
	}
	gone := final && !w.removed && !w.static && w.pod.DeletionTimestamp != nil
	w.k.statuses.publish(w.pod, status, gone)
}
