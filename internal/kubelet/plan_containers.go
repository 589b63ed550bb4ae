package kubelet

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// planContainers starts what should run in the ready sandbox.
func (s *situation) planContainers(p *plan) {
	if !s.Prepared || s.mustGrow() {
		return
	}
	initialized := s.appStarted()
	for i := range s.Pod.Spec.InitContainers {
		c := &s.Pod.Spec.InitContainers[i]
		if isSidecar(c) {
			s.planStart(p, c)
			if !initialized && !s.sidecarStarted(c) {
				return
			}
			continue
		}
		if initialized || s.inCurrentSandbox(c.Name).succeeded() {
			continue
		}
		s.planStart(p, c)
		return
	}
	for i := range s.Pod.Spec.Containers {
		s.planStart(p, &s.Pod.Spec.Containers[i])
	}
	s.planEphemeral(p)
}

// planEphemeral starts ephemeral containers, once each: they never restart.
func (s *situation) planEphemeral(p *plan) {
	for i := range s.Pod.Spec.EphemeralContainers {
		name := s.Pod.Spec.EphemeralContainers[i].Name
		if s.View.latest(name) == nil && !s.Memory[name].Busy && !s.Memory[name].RetryAt.After(s.Now) {
			p.do(action{Verb: verbStart, Container: name})
		}
	}
}

// inCurrentSandbox is the newest container of a name if it belongs to the
// current sandbox: an init container's success in a sandbox that is gone is void.
func (s *situation) inCurrentSandbox(name string) *containerRecord {
	c := s.View.latest(name)
	if box := s.View.sandbox(); c == nil || box == nil || c.SandboxID != box.ID {
		return nil
	}
	return c
}

// appStarted reports whether an app container was created in this sandbox: then
// all init containers were done, and they do not run again.
func (s *situation) appStarted() bool {
	for _, c := range s.Pod.Spec.Containers {
		if s.inCurrentSandbox(c.Name) != nil {
			return true
		}
	}
	return false
}

func (s *situation) sidecarStarted(c *v1.Container) bool {
	r := s.View.latest(c.Name)
	m := s.Memory[c.Name]
	return r.running() && !m.Starting && (c.StartupProbe == nil || m.Started == r.ID)
}

// planStart starts a container that does not run and may run now.
func (s *situation) planStart(p *plan, c *v1.Container) {
	m := s.Memory[c.Name]
	last := s.View.latest(c.Name)
	if m.Busy || last.running() {
		return
	}
	if m.RetryAt.After(s.Now) {
		p.wakeAt(m.RetryAt)
		p.wakeAt(m.PullBackOffAt)
		return
	}
	restarts := startsTold(s.Pod, c.Name)
	if last != nil {
		restarts = last.Restarts + 1
	}
	if last != nil && !last.ended() {
		// Created, never started, and nobody is at it: skiff ended in between.
		p.do(action{Verb: verbRemove, Container: c.Name, ID: last.ID})
		return
	}
	if last.ended() && m.Resized != last.ID && !s.void(c, last) {
		if !shouldRestart(s.Pod, c, last) && !changed(c, last) {
			return
		}
		if until := m.Backoff.until(last.FinishedAt); until.After(s.Now) {
			p.Crashing[c.Name] = m.Backoff.Delay
			p.wakeAt(until)
			return
		}
	}
	p.do(action{Verb: verbStart, Container: c.Name, Attempt: restarts})
}

// startsTold is how often a container was started, by the pod's status: all that
// is left of one whose records somebody took away. Its log goes on in a new file.
func startsTold(pod *v1.Pod, name string) int {
	s := anyStatusOf(pod, name)
	switch {
	case s == nil:
		return 0
	case s.State.Waiting != nil && (s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ContainerID == ""):
		return int(s.RestartCount) // never started, or already counted as vanished
	default:
		return int(s.RestartCount) + 1
	}
}

// void reports whether a container's success counts no more: that of an init
// container, when the sandbox that it prepared is gone. It runs again.
func (s *situation) void(c *v1.Container, last *containerRecord) bool {
	return isInit(s.Pod, c.Name) && last.succeeded() && s.inCurrentSandbox(c.Name) == nil
}

// planDoomed kills containers that a probe or a hook condemned.
func (s *situation) planDoomed(p *plan) {
	for name, m := range s.Memory {
		c := s.View.latest(name)
		if m.Doomed == "" || m.Busy || !c.running() || c.ID != m.Doomed {
			continue
		}
		grace := gracePeriod(s.Pod)
		if m.DoomedGrace != nil {
			grace = *m.DoomedGrace
		}
		p.do(action{Verb: verbKill, Container: name, ID: c.ID, Grace: grace, Why: m.DoomedWhy})
	}
}

// changed reports whether a container's image is no longer the one that its
// specification names: it may be changed in place.
func changed(c *v1.Container, r *containerRecord) bool {
	return r != nil && r.Hash != "" && r.Hash != containerHash(c)
}

// planChanged ends containers whose image was changed; they start again with
// the new one.
func (s *situation) planChanged(p *plan) {
	eachContainer(s.Pod, func(c *v1.Container) {
		r, m := s.View.latest(c.Name), s.Memory[c.Name]
		if r.running() && !m.Busy && m.Doomed != r.ID && changed(c, r) {
			p.do(action{Verb: verbKill, Container: c.Name, ID: r.ID, Grace: gracePeriod(s.Pod), Why: fmt.Sprintf("Container %s definition changed, will be restarted", c.Name)})
		}
	})
}

// planRemovals removes dead containers, but keeps the newest and the newest dead
// one of each name, for `kubectl logs --previous`.
func (s *situation) planRemovals(p *plan) {
	dead := map[string]int{}
	for i := range s.View.Containers {
		c := &s.View.Containers[i]
		if !c.ended() {
			continue
		}
		dead[c.Name]++
		// The newest dead one stays, and the one before it while the newest one
		// is still the current container (its log is what --previous shows).
		keep := 1
		if s.View.latest(c.Name).ended() {
			keep = 2
		}
		if dead[c.Name] > keep && !s.Memory[c.Name].Busy {
			p.do(action{Verb: verbRemove, Container: c.Name, ID: c.ID})
		}
	}
	for i := range s.View.Sandboxes {
		box := &s.View.Sandboxes[i]
		used := slices.ContainsFunc(s.View.Containers, func(c containerRecord) bool { return c.SandboxID == box.ID })
		if i > 0 && !box.Ready && !used && !s.SandboxBusy {
			p.do(action{Verb: verbRemoveSandbox, ID: box.ID})
		}
	}
}
