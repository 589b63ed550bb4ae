package kubelet

import (
	"context"
	"errors"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// act starts one action of a plan.
func (w *worker) act(a action) {
	switch a.Verb {
	case verbPrepare:
		w.actPrepare()
	case verbCreateSandbox:
		w.actCreateSandbox(a)
	case verbStart:
		w.actStart(a)
	case verbResize:
		w.actResize(a)
	case verbPreStop:
		w.actPreStop(a)
	case verbKill:
		w.actKill(a)
	case verbStopSandbox:
		w.actStopSandbox(a)
	case verbRemoveSandbox:
		w.actRemoveSandbox(a)
	case verbRemove:
		w.operation(a.Container, func(ctx context.Context) func() {
			_, err := w.k.deps.Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: a.ID})
			if err != nil {
				pause(ctx)
			}
			return func() { w.warn("removing container", err) }
		})
	}
}

// actRemoveSandbox removes a sandbox that was replaced.
func (w *worker) actRemoveSandbox(a action) {
	w.sandboxBusy = true
	go func() {
		_, err := w.k.deps.Runtime.RemovePodSandbox(w.ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: a.ID})
		if err != nil {
			pause(w.ctx)
		}
		w.tell(func(i *inbox) {
			i.runtime = true
			i.results = append(i.results, func() {
				w.sandboxBusy = false
				w.warn("removing sandbox", err)
			})
		})
	}()
}

// pause keeps what failed in the container layer from being tried again in a
// tight loop.
func pause(ctx context.Context) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
}

func (w *worker) warn(doing string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		w.k.log.Warn(doing, "pod", podName(w.pod), "err", err)
	}
}

// actPrepare sets up the pod's directories and volumes. It is repeated, from
// the same code, when a referenced object changes or a token is to be renewed.
func (w *worker) actPrepare() {
	w.preparing, w.dirty = true, false
	pod := w.pod
	go func() {
		refresh, err := w.k.prepare(w.ctx, pod)
		w.post(func() {
			w.preparing = false
			if err != nil {
				delay := w.prepareRetry.next()
				w.prepareAt = time.Now().Add(delay)
				if w.prepared {
					w.refreshAt = w.prepareAt // what is there stays until it works
				}
				if w.termination == nil {
					for _, one := range each(err) {
						w.k.events.pod(pod, v1.EventTypeWarning, "FailedMount", one.Error())
					}
				}
				return
			}
			w.prepareRetry.reset()
			w.prepared, w.refreshAt = true, refresh
		})
	}()
}

// each gives the errors that were joined into one: each volume has an event of its own.
func each(err error) []error {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()
	}
	return []error{err}
}

// objectChanged is called when a ConfigMap or Secret that the pod uses changed:
// volumes are set up anew, and starts that waited for it are tried at once.
func (w *worker) objectChanged() {
	w.post(func() {
		if w.termination != nil || w.pod == nil || !w.admitted {
			return
		}
		w.prepareAt = time.Time{}
		for name, m := range w.memory {
			if m.Waiting != nil && m.Waiting.Reason == reasonConfigError {
				m.RetryAt = time.Time{}
				w.memory[name] = m
			}
		}
		w.dirty = true
	})
}

func (w *worker) actCreateSandbox(a action) {
	w.sandboxBusy = true
	pod := w.pod
	if a.Attempt > 0 {
		w.k.events.pod(pod, v1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	old := w.view.Sandboxes
	go func() {
		for _, box := range old {
			w.k.removeSandbox(w.ctx, box.ID)
		}
		err := w.k.createSandbox(w.ctx, pod, a.Attempt)
		w.tell(func(i *inbox) {
			i.runtime = true
			i.results = append(i.results, func() {
				w.sandboxBusy = false
				if err == nil {
					w.sandboxRetry.reset()
					w.resize.pod, w.resize.known = sizesOf(podResources(pod)), true
					return
				}
				w.sandboxAt = time.Now().Add(w.sandboxRetry.next())
				if w.termination == nil {
					w.k.events.pod(pod, v1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error())
				}
			})
		})
	}()
}

func (w *worker) actStopSandbox(a action) {
	w.sandboxBusy = true
	go func() {
		_, err := w.k.deps.Runtime.StopPodSandbox(w.ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: a.ID})
		if err != nil {
			pause(w.ctx) // nothing can be said of the pod until this works
		}
		w.tell(func(i *inbox) {
			i.runtime = true
			i.results = append(i.results, func() {
				w.sandboxBusy = false
				w.warn("stopping sandbox", err)
			})
		})
	}()
}

// actStart starts a container: image, configuration, create, start, postStart.
func (w *worker) actStart(a action) {
	c := findContainer(w.pod, a.Container)
	box := w.view.readySandbox()
	if c == nil || box == nil {
		return
	}
	last := w.view.latest(a.Container)
	now := time.Now()
	w.remember(a.Container, func(m *containerMemory) {
		m.Starting = true
		m.Started, m.Ready = "", ""
		if last.ended() && m.Resized != last.ID {
			m.Backoff = m.Backoff.next(last.FinishedAt, now)
			if m.Waiting != nil && m.Waiting.Reason == reasonCrashLoop {
				m.Waiting = nil
			}
		}
	})
	s := &start{k: w.k, pod: w.pod, container: c, attempt: a.Attempt, sandbox: *box, pulls: w.pullRetry(c.Name)}
	s.running = func(id string) {
		if !hasPostStart(c) {
			w.tell(func(i *inbox) {
				i.runtime = true
				i.results = append(i.results, func() { w.remember(c.Name, func(m *containerMemory) { m.Starting, m.Waiting = false, nil }) })
			})
		}
	}
	w.operation(c.Name, func(ctx context.Context) func() {
		err := s.run(ctx)
		return func() { w.started(c, err) }
	})
}

// started takes in how a start ended.
func (w *worker) started(c *v1.Container, err error) {
	var fail *startError
	switch {
	case err == nil:
		w.remember(c.Name, func(m *containerMemory) { m.Waiting, m.RetryAt = nil, time.Time{} })
	case w.termination != nil || errors.Is(err, context.Canceled):
		// The pod is ending: what was made is ended by the plan.
	case w.replaced(c):
		w.startAfresh(c.Name)
	case errors.As(err, &fail):
		w.remember(c.Name, func(m *containerMemory) {
			m.Waiting = &v1.ContainerStateWaiting{Reason: fail.Reason, Message: fail.Message}
			m.RetryAt = time.Now().Add(fail.Retry)
			if fail.Pull != "" {
				m.PullImage, m.PullBackOffAt = fail.Pull, time.Now().Add(min(fail.Retry, pullBackOffShown))
			}
			if fail.Doomed != "" {
				m.Doomed, m.DoomedWhy, m.Waiting, m.RetryAt = fail.Doomed, fail.Message, nil, time.Time{}
			}
		})
	default:
		w.remember(c.Name, func(m *containerMemory) {
			m.Waiting = &v1.ContainerStateWaiting{Reason: reasonRunError, Message: err.Error()}
			m.RetryAt = time.Now().Add(backoffFirst)
		})
	}
}

// replaced reports whether a container has another image by now than the one that
// was to be started.
func (w *worker) replaced(c *v1.Container) bool {
	now := findContainer(w.pod, c.Name)
	return now != nil && now.Image != c.Image
}

func (w *worker) pullRetry(name string) *retry {
	if w.imageRetry[name] == nil {
		w.imageRetry[name] = &retry{first: backoffFirst, limit: backoffMax}
	}
	return w.imageRetry[name]
}

// removeSandbox stops and removes a sandbox that is no longer wanted.
func (k *Kubelet) removeSandbox(ctx context.Context, id string) {
	if _, err := k.deps.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil && !notFound(err) {
		k.log.Warn("stopping sandbox", "sandbox", id, "err", err)
		return
	}
}
