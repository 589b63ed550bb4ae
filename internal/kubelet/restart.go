package kubelet

import (
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Restart delays, as upstream: the first restart is at once, then 10 s,
// doubling up to 5 min; a container that ran for 10 min starts afresh.
const (
	backoffFirst = 10 * time.Second
	backoffMax   = 5 * time.Minute
	backoffReset = 2 * backoffMax
)

// backoff holds back the restart of a container that ends again and again. The
// zero value lets the next restart through at once.
type backoff struct {
	// Delay is what the next restart waits for, counted from the container's end.
	Delay time.Duration
	// Last is when a start was last let through.
	Last time.Time
}

// until is when a container that ended at the given time may start again.
func (b backoff) until(finished time.Time) time.Time {
	if b.Delay == 0 || b.expired(finished) {
		return time.Time{}
	}
	return finished.Add(b.Delay)
}

func (b backoff) expired(finished time.Time) bool {
	return finished.Sub(b.Last) > backoffReset
}

// next is the state after a restart was let through.
func (b backoff) next(finished, now time.Time) backoff {
	if b.Delay == 0 || b.expired(finished) {
		return backoff{Delay: backoffFirst, Last: now}
	}
	return backoff{Delay: min(2*b.Delay, backoffMax), Last: now}
}

// retry is an exponential delay for steps that failed: sandboxes, volumes,
// images, configuration.
type retry struct {
	first, limit time.Duration
	delay        time.Duration
}

// next gives the delay until the next try.
func (r *retry) next() time.Duration {
	if r.delay == 0 {
		r.delay = r.first
	} else {
		r.delay = min(2*r.delay, r.limit)
	}
	return r.delay
}

func (r *retry) reset() { r.delay = 0 }

// isSidecar reports whether an init container is restartable (KEP-753).
func isSidecar(c *v1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways
}

// sidecarIndex is the position of a sidecar among the init containers, or -1.
func sidecarIndex(pod *v1.Pod, name string) int {
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.Name == name && isSidecar(c) {
			return i
		}
	}
	return -1
}

func isInit(pod *v1.Pod, name string) bool {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return true
		}
	}
	return false
}

// restartPolicy is the policy that counts for one container: its own, or the
// pod's. Plain init containers of a pod with Always restart on failure only.
func restartPolicy(pod *v1.Pod, c *v1.Container) v1.RestartPolicy {
	switch {
	case isSidecar(c):
		return v1.RestartPolicyAlways
	case c.RestartPolicy != nil:
		return v1.RestartPolicy(*c.RestartPolicy)
	case isInit(pod, c.Name) && pod.Spec.RestartPolicy == v1.RestartPolicyAlways:
		return v1.RestartPolicyOnFailure
	default:
		return pod.Spec.RestartPolicy
	}
}

// shouldRestart reports whether a container that ended is to be started again.
func shouldRestart(pod *v1.Pod, c *v1.Container, last *containerRecord) bool {
	code := last.ExitCode
	if !last.succeeded() && code == 0 {
		code = unknownCode // nobody knows how it ended
	}
	return restartsAfter(pod, c, code)
}

// unknownCode stands for the exit code of a container that nobody saw end.
const unknownCode = 137

// restartsAfter reports whether a container that ended with an exit code is to be
// started again: its own rules come first (KEP-5307), then its policy.
func restartsAfter(pod *v1.Pod, c *v1.Container, code int32) bool {
	if c.RestartPolicy != nil && ruledToRestart(c, code) {
		return true
	}
	switch restartPolicy(pod, c) {
	case v1.RestartPolicyAlways:
		return true
	case v1.RestartPolicyOnFailure:
		return code != 0
	default:
		return false
	}
}

// ruledToRestart reports whether the first rule that holds for an exit code asks
// for a restart. Rules that ask for more than that leave it to the policy.
func ruledToRestart(c *v1.Container, code int32) bool {
	for _, r := range c.RestartPolicyRules {
		if r.ExitCodes == nil {
			continue
		}
		in := slices.Contains(r.ExitCodes.Values, code)
		if in && r.ExitCodes.Operator == v1.ContainerRestartRuleOnExitCodesOpIn || !in && r.ExitCodes.Operator == v1.ContainerRestartRuleOnExitCodesOpNotIn {
			return r.Action == v1.ContainerRestartRuleActionRestart
		}
	}
	return false
}

// podCompleted reports whether a pod is done by itself: every app container
// ended and none may restart, or an init container failed for good.
func podCompleted(pod *v1.Pod, v *view, memory map[string]containerMemory) bool {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		last := v.latest(c.Name)
		if isSidecar(c) || memory[c.Name].Busy {
			continue
		}
		if last.ended() && !last.succeeded() && !shouldRestart(pod, c, last) {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		last := v.latest(c.Name)
		if !last.ended() || memory[c.Name].Busy || memory[c.Name].Resized == last.ID || shouldRestart(pod, c, last) || changed(c, last) {
			return false
		}
	}
	return len(pod.Spec.Containers) > 0
}

// gracePeriod is the time in seconds that a pod's containers have to end.
func gracePeriod(pod *v1.Pod) int64 {
	switch {
	case pod.DeletionGracePeriodSeconds != nil:
		return *pod.DeletionGracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		return *pod.Spec.TerminationGracePeriodSeconds
	default:
		return v1.DefaultTerminationGracePeriodSeconds
	}
}
