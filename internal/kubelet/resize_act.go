package kubelet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// actResize changes the cgroups of the pod and of what runs in it.
func (w *worker) actResize(a action) {
	w.resize.busy = true
	pod, box, have, known := w.pod, w.view.readySandbox().ID, w.resize.pod, w.resize.known
	go func() {
		reached, err := have, error(nil)
		if !known {
			reached, err = w.k.cgroups.sizes(w.k.cgroups.parent(pod))
		}
		if err == nil {
			reached, err = w.k.resizePod(w.ctx, pod, box, reached, a.Work)
		}
		if w.ctx.Err() != nil {
			return
		}
		w.tell(func(i *inbox) {
			i.runtime = true
			i.results = append(i.results, func() { w.resized(pod, reached, err) })
		})
	}()
}

// resized takes in how a change of cgroups ended. What did not work is tried again:
// memory that is used now may be free later, and nothing tells when.
func (w *worker) resized(pod *v1.Pod, reached sizes, err error) {
	r := &w.resize
	r.busy = false
	if reached != (sizes{}) {
		r.pod, r.known = reached, true
	}
	if err == nil || w.termination != nil {
		r.retry.reset()
		return
	}
	now := time.Now()
	r.at = now.Add(r.retry.next())
	old := r.progress
	generation := pod.Generation
	if old != nil {
		generation = old.ObservedGeneration
	}
	if old != nil && errors.Is(err, errMemoryInUse) && strings.HasPrefix(old.Message, errMemoryInUse.Error()) {
		return // told already; only how much is used has changed
	}
	r.progress = resizeCondition(v1.PodResizeInProgress, old, answer{Reason: v1.PodReasonError, Message: criText(err)}, generation, now)
	if r.progress != old {
		w.k.events.pod(pod, v1.EventTypeWarning, eventResizeError, resizeText("Pod resize error", pod, generation, criText(err)))
	}
}

// resizePod makes the pod's cgroup large enough for what it has and for what it
// will have, changes the containers, those first that give memory back, and then
// makes the pod's cgroup as small as it may be: no cgroup is ever above its pod's.
// It returns what the pod's cgroup has got to.
func (k *Kubelet) resizePod(ctx context.Context, pod *v1.Pod, box string, have sizes, work *resizeWork) (sizes, error) {
	set := func(to sizes) error {
		if to == have {
			return nil
		}
		if _, err := k.deps.Runtime.UpdatePodSandboxResources(ctx, &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: box, Resources: to.request(), Overhead: overheadResources(pod)}); err != nil {
			return err
		}
		if err := k.cgroups.resize(pod, to); err != nil {
			return err
		}
		have = to
		return nil
	}
	if err := set(have.atLeast(work.Pod)); err != nil {
		return have, err
	}
	if err := k.memoryInUse(ctx, pod, have, work); err != nil {
		return have, err
	}
	for _, c := range ordered(work.Changes) {
		request := &runtimeapi.UpdateContainerResourcesRequest{ContainerId: c.ID, Linux: c.To.request()}
		if _, err := k.deps.Runtime.UpdateContainerResources(ctx, request); err != nil && !gone(err) {
			return have, fmt.Errorf("resizing container %q: %s", c.Container, criText(err))
		}
	}
	return have, set(work.target(have))
}

var errMemoryInUse = errors.New("cannot decrease memory limits")

// memoryInUse refuses a limit of memory that is used up already: version 2 of
// cgroups would take it and kill. It is no promise: a program may ask for more in
// the same moment.
func (k *Kubelet) memoryInUse(ctx context.Context, pod *v1.Pod, have sizes, work *resizeWork) error {
	var faults []error
	if to := work.target(have).memory; lowers(to, have.memory) {
		if st, err := k.cgroups.stats(k.cgroups.parent(pod)); err != nil {
			faults = append(faults, err)
		} else if st.MemoryUsage >= uint64(to) {
			faults = append(faults, fmt.Errorf("attempting to set pod memory limit (%d) below current usage (%d)", to, st.MemoryUsage))
		}
	}
	for _, c := range work.Changes {
		if !lowers(c.To.memory, c.From.memory) {
			continue
		}
		stats, err := k.deps.Runtime.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: c.ID})
		if err != nil {
			if !gone(err) {
				faults = append(faults, err)
			}
			continue
		}
		if used := stats.GetStats().GetMemory().GetUsageBytes().GetValue(); used >= uint64(c.To.memory) {
			faults = append(faults, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", c.Container, c.To.memory, used))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", errMemoryInUse, utilerrors.NewAggregate(faults))
}

// ordered sorts changes so that containers that give memory back come first.
func ordered(all []change) []change {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b change) int {
		return -one(lowers(a.To.memory, a.From.memory)) + one(lowers(b.To.memory, b.From.memory))
	})
	return all
}
