package kubelet

import (
	"encoding/json"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
)

// resizeView is what a plan has to know of a resize under way (KEP-1287).
type resizeView struct {
	// Active: the pod's cgroups may not be as it was given. Most pods are never
	// resized, and their plans do not look.
	Active bool
	// Busy: cgroups are being changed. At: not again before (after an error).
	Busy bool
	At   time.Time
	// Pod are the limits of the pod's own cgroup, if they are known.
	Pod   sizes
	Known bool
}

// change of a container's cgroup.
type change struct {
	Container, ID string
	From, To      sizes
}

// resizeWork is what has to become otherwise, for the pod to be as it was given.
type resizeWork struct {
	// Pod is what the pod's own cgroup must have.
	Pod sizes
	// Changes are made while the containers run.
	Changes []change
	// Restarts are containers that want to be restarted for it.
	Restarts []*containerRecord
	// Owed: one of those has ended and did not start again yet.
	Owed bool
	// Lower: nothing that runs or starts may still need what the pod had.
	Lower bool
}

func (s *situation) resizeWork() resizeWork {
	w := resizeWork{Pod: sizesOf(podResources(s.Pod)), Lower: true}
	eachContainer(s.Pod, func(c *v1.Container) {
		r, m := s.View.latest(c.Name), s.Memory[c.Name]
		w.Owed = w.Owed || r.ended() && m.Resized == r.ID
		w.Lower = w.Lower && !m.Busy
		if !r.running() {
			return
		}
		if resizeRestarts(s.Pod, c, r) {
			w.Restarts = append(w.Restarts, r)
			return
		}
		from, to := sizesOf(r.Resources), sizesOf(containerResources(s.Pod, c, 0))
		if from != to {
			w.Changes = append(w.Changes, change{Container: c.Name, ID: r.ID, From: from, To: to})
		}
	})
	w.Lower = w.Lower && len(w.Restarts) == 0
	return w
}

// target is what the pod's cgroup should have now.
func (w *resizeWork) target(have sizes) sizes {
	if w.Lower {
		return w.Pod
	}
	return have.atLeast(w.Pod)
}

// resizing reports whether the pod's cgroups are not yet as it was given.
func (s *situation) resizing() bool {
	if !s.Resize.Active {
		return false
	}
	w := s.resizeWork()
	return w.Owed || len(w.Restarts)+len(w.Changes) > 0 || !s.Resize.Known || s.Resize.Pod != w.Pod
}

// planResize changes the cgroups of a pod that was given other resources.
// Containers that want a restart for it are ended here, and start again with what
// they were given.
func (s *situation) planResize(p *plan) {
	if !s.Resize.Active || s.View.readySandbox() == nil {
		return
	}
	w := s.resizeWork()
	for _, r := range w.Restarts {
		if m, c := s.Memory[r.Name], findContainer(s.Pod, r.Name); !m.Busy && m.Doomed != r.ID && !changed(c, r) {
			p.do(action{Verb: verbKill, Container: r.Name, ID: r.ID, Grace: gracePeriod(s.Pod), Resize: true, Why: fmt.Sprintf("Container %s resize requires restart", r.Name)})
		}
	}
	switch {
	case s.Resize.Busy || s.Resize.Known && len(w.Changes) == 0 && s.Resize.Pod == w.target(s.Resize.Pod):
	case s.Resize.At.After(s.Now):
		p.wakeAt(s.Resize.At)
	default:
		p.do(action{Verb: verbResize, Work: &w})
	}
}

// mustGrow holds back containers that start: the pod's cgroup has not got yet what
// they will ask for, and the kernel refuses a quota above that of the pod.
func (s *situation) mustGrow() bool {
	if !s.Resize.Active || s.Resize.At.After(s.Now) {
		return false
	}
	return !s.Resize.Known || s.Resize.Pod.atLeast(sizesOf(podResources(s.Pod))) != s.Resize.Pod
}

// resizeRestarts reports whether a container was started with other resources than
// it has now, of those for which its policy asks for a restart.
func resizeRestarts(pod *v1.Pod, c *v1.Container, r *containerRecord) bool {
	limits := effectiveLimits(pod, c)
	var was v1.ResourceRequirements
	if r.Given == "" || json.Unmarshal([]byte(r.Given), &was) != nil {
		return false
	}
	for _, policy := range c.ResizePolicy {
		if policy.RestartPolicy == v1.RestartContainer && (!same(was.Requests, c.Resources.Requests, policy.ResourceName) || !same(was.Limits, limits, policy.ResourceName)) {
			return true
		}
	}
	return false
}

func same(a, b v1.ResourceList, name v1.ResourceName) bool {
	x, y := a[name], b[name]
	return x.Cmp(y) == 0
}

// startedWith is what resizeRestarts compares with; empty for a container that is
// never restarted by a resize.
func startedWith(pod *v1.Pod, c *v1.Container) string {
	for _, policy := range c.ResizePolicy {
		if policy.RestartPolicy == v1.RestartContainer {
			data, err := json.Marshal(v1.ResourceRequirements{Requests: c.Resources.Requests, Limits: effectiveLimits(pod, c)})
			if err != nil {
				return "" // cannot be: it came as JSON
			}
			return string(data)
		}
	}
	return ""
}
