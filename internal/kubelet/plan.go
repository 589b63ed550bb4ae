package kubelet

import (
	"fmt"
	"math"
	"time"

	v1 "k8s.io/api/core/v1"
)

// verb is what an action does.
type verb string

// The verbs of a plan, in the order of a pod's life.
const (
	verbPrepare       verb = "prepare"        // volumes
	verbCreateSandbox verb = "create-sandbox" // cgroup, pause, network
	verbStart         verb = "start"          // image, create, start, postStart
	verbResize        verb = "resize"         // limits of cgroups of what runs
	verbPreStop       verb = "pre-stop"       // the hook of a sidecar that waits for its turn to end
	verbKill          verb = "kill"           // preStop, TERM, grace, KILL
	verbStopSandbox   verb = "stop-sandbox"   // network detach, pause ends
	verbRemove        verb = "remove"         // a dead container beyond the last one
	verbRemoveSandbox verb = "remove-sandbox" // one that was replaced and holds no container
)

// action is one thing to do for a pod. Actions of a plan are independent of
// each other and run at the same time.
type action struct {
	Verb verb
	// Container is the container's name, for start, kill and remove.
	Container string
	// ID is the container or sandbox to kill, stop or remove.
	ID string
	// Attempt is the sandbox's attempt or the container's restart count.
	Attempt int
	// Grace is the seconds that a killed container has.
	Grace int64
	// Why is the text of the Killing event.
	Why string
	// Resize: the container is killed to start again with other resources.
	Resize bool
	// Work is what a resize has to change.
	Work *resizeWork
}

// containerMemory is what a worker remembers of a container and the container
// layer does not know. Its zero value is a container that was never touched.
type containerMemory struct {
	// Busy: an action for this container is under way.
	Busy bool
	// Starting: the action under way has not finished its postStart hook.
	Starting bool
	// Waiting says why the last start did not work; RetryAt when to try again.
	Waiting *v1.ContainerStateWaiting
	RetryAt time.Time
	// PullBackOffAt is when ErrImagePull turns into ImagePullBackOff, PullImage the image that could not be pulled.
	PullBackOffAt time.Time
	PullImage     string
	// Backoff delays restarts of a container that ended.
	Backoff backoff
	// Doomed is the identifier of a container that a probe or a hook condemned,
	// DoomedWhy the event's text, DoomedGrace its own grace period, if any.
	Doomed      string
	DoomedWhy   string
	DoomedGrace *int64
	// Hooked is the identifier of a container whose preStop hook was run.
	Hooked string
	// Resized is the identifier of a container that was ended to start again with
	// other resources, whatever its exit code is.
	Resized string
	// Started and Ready are the identifiers of the containers that passed their
	// startup and readiness probes.
	Started, Ready string
	// Adopted is the container whose earlier verdicts were taken over.
	Adopted string
}

// termination says that a pod has to end.
type termination struct {
	Since time.Time
	// Grace is the time that all containers together have, in seconds.
	Grace int64
	// Phase, Reason and Message are set on the pod's status, if not empty.
	Phase           v1.PodPhase
	Reason, Message string
	// Rejected: the pod was never let in; its containers have no state.
	Rejected bool
	// Why is the text of the Killing events; empty: "Stopping container NAME".
	Why string
}

func (t *termination) remaining(now time.Time) int64 {
	return max(t.Grace-int64(now.Sub(t.Since)/time.Second), 0)
}

// situation is all that a plan is made from.
type situation struct {
	Pod         *v1.Pod
	View        view
	Memory      map[string]containerMemory
	Termination *termination
	// Prepared: volumes are set up. Preparing, SandboxBusy: under way.
	Prepared, Preparing, SandboxBusy bool
	// PrepareAt and SandboxAt: not again before (after an error).
	PrepareAt, SandboxAt time.Time
	Resize               resizeView
	Now                  time.Time
}

// plan is what to do now, and when to look again if nothing happens before.
type plan struct {
	Actions []action
	Wake    time.Time
	// Crashing names containers held back by their restart delay.
	Crashing map[string]time.Duration
	// Over: nothing runs and nothing will; the pod may be reported as final.
	Over bool
}

func (p *plan) do(a action) { p.Actions = append(p.Actions, a) }

func (p *plan) wakeAt(t time.Time) {
	if !t.IsZero() && (p.Wake.IsZero() || t.Before(p.Wake)) {
		p.Wake = t
	}
}

// makePlan decides what to do for a pod. It is pure.
func makePlan(s situation) plan {
	p := plan{Crashing: map[string]time.Duration{}}
	switch {
	case s.Termination != nil || podCompleted(s.Pod, &s.View, s.Memory):
		s.planEnd(&p)
		return p
	case s.View.readySandbox() == nil:
		s.planSandbox(&p)
	default:
		s.planContainers(&p)
	}
	if !s.Prepared && !s.Preparing {
		s.planPrepare(&p)
	}
	s.planResize(&p)
	s.planDoomed(&p)
	s.planChanged(&p)
	s.planRemovals(&p)
	return p
}

func (s *situation) planPrepare(p *plan) {
	if s.PrepareAt.After(s.Now) {
		p.wakeAt(s.PrepareAt)
		return
	}
	p.do(action{Verb: verbPrepare})
}

// planEnd kills what runs, sidecars after the containers that they serve, and
// stops the sandboxes at last.
func (s *situation) planEnd(p *plan) {
	end := s.Termination
	if end == nil {
		end = &termination{Since: s.Now, Grace: gracePeriod(s.Pod)}
	}
	busy := s.SandboxBusy || s.Preparing
	for i := range s.View.Containers {
		c := &s.View.Containers[i]
		if c.ended() {
			continue
		}
		busy = true
		if s.Memory[c.Name].Busy {
			continue
		}
		if !c.running() { // created and never started: there is nothing to stop
			p.do(action{Verb: verbRemove, Container: c.Name, ID: c.ID})
			continue
		}
		if s.heldBack(c.Name, end, p) {
			// Its hook runs when the pod begins to end, as all others' do.
			if spec := findContainer(s.Pod, c.Name); hasPreStop(spec) && s.Memory[c.Name].Hooked != c.ID {
				p.do(action{Verb: verbPreStop, Container: c.Name, ID: c.ID, Grace: end.remaining(s.Now), Why: end.Why})
			}
			continue
		}
		p.do(action{Verb: verbKill, Container: c.Name, ID: c.ID, Grace: end.remaining(s.Now), Why: end.Why})
	}
	for _, m := range s.Memory {
		busy = busy || m.Busy
	}
	if busy {
		return
	}
	for _, box := range s.View.Sandboxes {
		if box.Ready {
			p.do(action{Verb: verbStopSandbox, ID: box.ID})
			busy = true
		}
	}
	p.Over = !busy
}

// heldBack reports whether a sidecar must wait for others to end first (KEP-753):
// for all app containers, then for the sidecars that were started after it. It
// stops waiting when the pod's grace period is over.
func (s *situation) heldBack(name string, end *termination, p *plan) bool {
	index := sidecarIndex(s.Pod, name)
	// A pod that must not be killed has the largest number there is, which no Duration holds.
	deadline := end.Since.Add(time.Duration(min(end.Grace, math.MaxInt64/int64(time.Second))) * time.Second)
	if index < 0 || !s.Now.Before(deadline) {
		return false
	}
	for _, c := range s.View.Containers {
		if c.ended() || c.Name == name {
			continue
		}
		if other := sidecarIndex(s.Pod, c.Name); other < 0 || other > index {
			p.wakeAt(deadline)
			return true
		}
	}
	return false
}

// planSandbox makes a sandbox. Containers that still run in an older one are
// ended first: they have lost the namespaces that they shared.
func (s *situation) planSandbox(p *plan) {
	if s.SandboxBusy {
		return
	}
	for i := range s.View.Containers {
		c := &s.View.Containers[i]
		if c.ended() {
			continue
		}
		switch {
		case s.Memory[c.Name].Busy:
		case !c.running():
			p.do(action{Verb: verbRemove, Container: c.Name, ID: c.ID})
		default:
			p.do(action{Verb: verbKill, Container: c.Name, ID: c.ID, Grace: gracePeriod(s.Pod), Why: "Pod sandbox changed, it will be killed and re-created."})
		}
		return
	}
	if s.SandboxAt.After(s.Now) {
		p.wakeAt(s.SandboxAt)
		return
	}
	attempt := 0
	if last := s.View.sandbox(); last != nil {
		attempt = int(last.Attempt) + 1
	}
	p.do(action{Verb: verbCreateSandbox, Attempt: attempt})
}

// killText is the text of a Killing event.
func killText(why, container string) string {
	if why != "" {
		return why
	}
	return fmt.Sprintf("Stopping container %s", container)
}
