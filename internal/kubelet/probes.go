package kubelet

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kubelet/probe"
)

// probeKey names a probe that runs: one kind for one run of a container.
type probeKey struct {
	container string
	kind      probe.Kind
}

type probeRun struct {
	id     string
	cancel context.CancelFunc
}

// probesAllowed reports whether probes may be started. While a pod ends its
// readiness goes on being watched, so that its endpoint says the truth, but
// nothing new begins.
func (w *worker) probesAllowed() bool { return w.admitted && w.termination == nil }

// syncProbes starts the probes of containers that run and stops those of
// containers that no longer do. Liveness and readiness wait for startup.
func (w *worker) syncProbes() {
	for key, run := range w.probes {
		if c := w.view.latest(key.container); !c.running() || c.ID != run.id {
			run.cancel()
			delete(w.probes, key)
		}
	}
	visit := func(c *v1.Container) {
		r, m := w.view.latest(c.Name), w.memory[c.Name]
		if !r.running() || m.Starting && hasPostStart(c) || m.Doomed == r.ID {
			return
		}
		w.adopt(c, r)
		m = w.memory[c.Name]
		if c.StartupProbe != nil && m.Started != r.ID {
			w.startProbe(c, r, probe.Startup, c.StartupProbe, probe.Unknown)
			return
		}
		if c.LivenessProbe != nil {
			w.startProbe(c, r, probe.Liveness, c.LivenessProbe, probe.Success)
		}
		if c.ReadinessProbe != nil {
			initial := probe.Failure
			if m.Ready == r.ID {
				initial = probe.Success
			}
			w.startProbe(c, r, probe.Readiness, c.ReadinessProbe, initial)
		}
	}
	for i := range w.pod.Spec.InitContainers {
		if c := &w.pod.Spec.InitContainers[i]; isSidecar(c) {
			visit(c)
		}
	}
	for i := range w.pod.Spec.Containers {
		visit(&w.pod.Spec.Containers[i])
	}
}

// adopt takes over what an earlier run of skiff knew of a container that still
// runs: it was started and ready, so it is until a probe says otherwise.
func (w *worker) adopt(c *v1.Container, r *containerRecord) {
	m := w.memory[c.Name]
	if m.Adopted == r.ID {
		return
	}
	m.Adopted = r.ID
	for _, all := range [][]v1.ContainerStatus{w.pod.Status.ContainerStatuses, w.pod.Status.InitContainerStatuses} {
		if s := statusOf(all, c.Name); s != nil && s.ContainerID == idScheme+r.ID {
			if s.Started != nil && *s.Started {
				m.Started = r.ID
			}
			if s.Ready {
				m.Ready = r.ID
			}
		}
	}
	w.memory[c.Name] = m
}

func (w *worker) startProbe(c *v1.Container, r *containerRecord, kind probe.Kind, p *v1.Probe, initial probe.Result) {
	key := probeKey{c.Name, kind}
	if _, ok := w.probes[key]; ok {
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	w.probes[key] = probeRun{r.ID, cancel}
	target := probe.Target{Container: c, ContainerID: r.ID, IP: w.probeIP(), Started: r.StartedAt}
	pod := w.pod
	go w.k.asker.Watch(ctx, kind, staticCommand(p, c), target, initial, func(rep probe.Report) {
		w.k.probeEvent(pod, c.Name, kind, rep)
		if rep.Changed || rep.Verdict == probe.Failure && kind != probe.Readiness {
			w.post(func() { w.probed(ctx, c, r.ID, kind, p, rep.Verdict) })
		}
	})
}

// staticCommand is a probe whose command has the variables of the container's
// specification expanded, as they are written there: what comes from elsewhere is
// empty.
func staticCommand(p *v1.Probe, c *v1.Container) *v1.Probe {
	if p.Exec == nil {
		return p
	}
	var env []variable
	for _, e := range c.Env {
		env = append(env, variable{e.Name, e.Value})
	}
	out := *p
	out.Exec = &v1.ExecAction{Command: expandAll(p.Exec.Command, env)}
	return &out
}

func (w *worker) probeIP() string {
	var ips []string
	if box := w.view.readySandbox(); box != nil {
		ips = box.IPs
	}
	return first(w.k.podIPs(w.pod, ips))
}

// probed takes in a verdict.
func (w *worker) probed(ctx context.Context, c *v1.Container, id string, kind probe.Kind, p *v1.Probe, verdict probe.Result) {
	if ctx.Err() != nil {
		return // of a container that is no more
	}
	w.remember(c.Name, func(m *containerMemory) {
		switch {
		case kind == probe.Readiness && verdict == probe.Success:
			m.Ready = id
		case kind == probe.Readiness:
			m.Ready = ""
		case kind == probe.Startup && verdict == probe.Success:
			m.Started = id
		case verdict == probe.Failure:
			m.Doomed = id
			m.DoomedGrace = p.TerminationGracePeriodSeconds
			m.DoomedWhy = condemned(w.pod, c, kind)
		}
	})
}

// condemned is the text of the Killing event of a container that failed a probe.
func condemned(pod *v1.Pod, c *v1.Container, kind probe.Kind) string {
	why := fmt.Sprintf("ontainer %s failed %s probe", c.Name, lower(kind))
	switch {
	case isInit(pod, c.Name):
		return "Init c" + why
	case restartPolicy(pod, c) == v1.RestartPolicyNever:
		return "C" + why
	default:
		return "C" + why + ", will be restarted"
	}
}

func lower(kind probe.Kind) string {
	switch kind {
	case probe.Startup:
		return "startup"
	case probe.Liveness:
		return "liveness"
	default:
		return "readiness"
	}
}

// probeEvent tells of an answer that was not a success.
func (k *Kubelet) probeEvent(pod *v1.Pod, container string, kind probe.Kind, rep probe.Report) {
	switch {
	case rep.Err != nil:
		k.events.container(pod, container, v1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe errored and resulted in unknown state: %v", kind, rep.Err))
	case rep.Answer == probe.Warning:
		k.events.container(pod, container, v1.EventTypeWarning, "ProbeWarning", fmt.Sprintf("%s probe warning: %s", kind, rep.Output))
	case rep.Answer == probe.Failure:
		k.events.container(pod, container, v1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %s", kind, rep.Output))
	}
}

func (w *worker) stopProbes(kinds ...probe.Kind) {
	for key, run := range w.probes {
		for _, kind := range kinds {
			if key.kind == kind {
				run.cancel()
				delete(w.probes, key)
			}
		}
	}
}

// stopContainerProbes stops the probes of a container that is being ended. The
// readiness of a pod that ends as a whole is watched on.
func (w *worker) stopContainerProbes(name string, keepReadiness bool) {
	for key, run := range w.probes {
		if key.container == name && !(keepReadiness && key.kind == probe.Readiness) {
			run.cancel()
			delete(w.probes, key)
		}
	}
}

// execProbe runs a probe's or hook's command in a container.
func (k *Kubelet) execProbe(ctx context.Context, id string, command []string, timeout time.Duration) ([]byte, int32, error) {
	seconds := int64((timeout + time.Second - 1) / time.Second)
	resp, err := k.deps.Runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: seconds})
	if err != nil {
		if status.Code(err) == codes.DeadlineExceeded {
			return nil, 0, probe.ErrTimeout
		}
		return nil, 0, fmt.Errorf("rpc error: %s", criText(err))
	}
	return append(resp.GetStdout(), resp.GetStderr()...), resp.GetExitCode(), nil
}
