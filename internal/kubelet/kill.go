package kubelet

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// kill is one container to end.
type kill struct {
	pod       *v1.Pod
	container *v1.Container // nil: no longer in the pod's spec
	id, ip    string
	grace     int64
	running   bool
	// hooked: its preStop hook was run before.
	hooked bool
}

// leastGrace is what a process has to end in, in seconds, also one that is ended
// by force or whose hook used up its time. As upstream.
const leastGrace = 2

// killed describes the end of the container that an action names.
func (w *worker) killed(a action) kill {
	t := kill{
		pod: w.pod, container: findContainer(w.pod, a.Container), id: a.ID, grace: a.Grace,
		running: w.view.byID(a.ID).running(), hooked: w.memory[a.Container].Hooked == a.ID,
	}
	if box := w.view.sandbox(); box != nil && len(box.IPs) > 0 {
		t.ip = box.IPs[0]
	}
	return t
}

// actPreStop runs the hook of a sidecar that ends later.
func (w *worker) actPreStop(a action) {
	t := w.killed(a)
	w.remember(a.Container, func(m *containerMemory) { m.Hooked = a.ID })
	w.operation(a.Container, func(ctx context.Context) func() {
		w.k.events.container(t.pod, a.Container, v1.EventTypeNormal, "Killing", killText(a.Why, a.Container))
		w.k.preStop(ctx, t)
		return func() {}
	})
}

// actKill ends a container.
func (w *worker) actKill(a action) {
	w.killGrace[a.Container] = a.Grace
	if a.Resize {
		w.remember(a.Container, func(m *containerMemory) { m.Resized = a.ID })
	}
	w.stopContainerProbes(a.Container, w.termination != nil)
	t, ending := w.killed(a), w.termination != nil
	w.operation(a.Container, func(ctx context.Context) func() {
		if t.running && !t.hooked {
			w.k.events.container(t.pod, a.Container, v1.EventTypeNormal, "Killing", killText(a.Why, a.Container))
		}
		if ending && t.running {
			w.k.drain(ctx, t.ip)
		}
		err := w.k.killContainer(ctx, t)
		if err != nil {
			pause(ctx)
		}
		return func() {
			w.warn("killing container", err)
			w.remember(a.Container, func(m *containerMemory) {
				if m.Doomed == a.ID && err == nil {
					m.Doomed, m.DoomedWhy, m.DoomedGrace = "", "", nil
				}
			})
		}
	})
}

// killContainer runs the preStop hook, if it was not run, and stops the container
// within the grace period that both share.
func (k *Kubelet) killContainer(ctx context.Context, t kill) error {
	grace := t.grace
	if t.running && !t.hooked && hasPreStop(t.container) && grace > 0 {
		began := time.Now()
		k.preStop(ctx, t)
		grace -= int64(time.Since(began) / time.Second)
	}
	return k.stopContainer(ctx, t.id, grace)
}

// drainTime bounds the wait for the proxy: a pod must end also without it.
const drainTime = time.Second

// drain lets the node's proxy forget the pod before its processes end.
func (k *Kubelet) drain(ctx context.Context, ip string) {
	addr, err := netip.ParseAddr(ip)
	if k.deps.Drain == nil || err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if err := k.deps.Drain(ctx, addr); err != nil {
		k.log.Warn("taking an ending pod out of its services", "address", ip, "err", err)
	}
}

// preStop runs the hook. It is over with the grace period, or when the container
// ends meanwhile: by itself, or because its pod was given less time.
func (k *Kubelet) preStop(ctx context.Context, t kill) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(t.grace)*time.Second)
	defer cancel()
	ended, release := k.endings.subscribe(t.id)
	defer release()
	done := make(chan error, 1)
	go func() { done <- k.runHook(ctx, t.pod, t.container, t.id, t.ip, t.container.Lifecycle.PreStop) }()
	select {
	case err := <-done:
		if err != nil {
			k.events.container(t.pod, t.container.Name, v1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
		}
	case <-ended:
	}
}

func (k *Kubelet) stopContainer(ctx context.Context, id string, grace int64) error {
	_, err := k.deps.Runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: max(grace, leastGrace)})
	if err != nil && !notFound(err) {
		return fmt.Errorf("stopping container %s: %w", id, err)
	}
	return nil
}
