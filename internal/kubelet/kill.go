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
}

// killContainer runs the preStop hook and stops the container within the grace
// period that both share. The process always gets two seconds, as upstream.
func (k *Kubelet) killContainer(ctx context.Context, t kill) error {
	const least = 2
	grace := t.grace
	if t.running && t.container != nil && t.container.Lifecycle != nil && t.container.Lifecycle.PreStop != nil && grace > 0 {
		began := time.Now()
		k.preStop(ctx, t)
		grace = max(grace-int64(time.Since(began)/time.Second), least)
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
	_, err := k.deps.Runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: grace})
	if err != nil && !notFound(err) {
		return fmt.Errorf("stopping container %s: %w", id, err)
	}
	return nil
}
