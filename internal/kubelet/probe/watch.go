package probe

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Watch asks until ctx ends. initial is the verdict to start with. It returns
// early when a startup probe succeeded, and when a liveness or startup probe
// failed for good: the container is then to be killed.
func (a *Asker) Watch(ctx context.Context, kind Kind, p *v1.Probe, t Target, initial Result, report func(Report)) {
	period := time.Duration(max(p.PeriodSeconds, 1)) * time.Second
	next := t.Started.Add(time.Duration(p.InitialDelaySeconds) * time.Second)
	if p.InitialDelaySeconds == 0 && kind == Liveness {
		next = next.Add(period) // who has just started is alive
	}
	w := &tally{verdict: initial, kind: kind, probe: p}
	timer := time.NewTimer(max(time.Until(next), 0))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		asked := time.Now()
		answer, output, err := a.Ask(ctx, p, t)
		if answer == Failure && w.run == 0 && kind != Liveness && a.eager(ctx, p, t, asked.Add(period)) {
			answer, output, err = Success, "", nil
		}
		if ctx.Err() != nil {
			return
		}
		changed, final := w.count(answer)
		report(Report{Verdict: w.verdict, Changed: changed, Answer: answer, Output: output, Err: err})
		if final {
			return
		}
		timer.Reset(max(time.Until(asked.Add(period)), 0))
	}
}

// Pauses of eager questions: a connection costs next to nothing, a process does.
const (
	eagerConnect = 10 * time.Millisecond
	eagerExec    = 100 * time.Millisecond
)

// eager asks again, with doubling pauses, a container that has just started and
// said no to the first question, until the next one is due. A server that needs
// 30 ms to open its port is ready then, not a period later. These questions are
// not counted and not told of, unless the answer is yes.
func (a *Asker) eager(ctx context.Context, p *v1.Probe, t Target, until time.Time) bool {
	pause := eagerConnect
	if p.Exec != nil {
		pause = eagerExec
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		if !time.Now().Before(until) {
			return false
		}
		if answer, _, _ := a.Ask(ctx, p, t); answer == Success || answer == Warning {
			return true
		}
		pause *= 2
		timer.Reset(min(pause, max(time.Until(until), 0)))
	}
}

// tally counts answers in a row.
type tally struct {
	kind    Kind
	probe   *v1.Probe
	verdict Result
	last    Result
	run     int32
}

// count takes one answer in. final: there is nothing more to ask.
func (w *tally) count(answer Result) (changed, final bool) {
	switch answer {
	case Unknown:
		return false, false
	case Warning:
		answer = Success
	}
	if answer == w.last {
		w.run++
	} else {
		w.last, w.run = answer, 1
	}
	need := max(w.probe.SuccessThreshold, 1)
	if answer == Failure {
		need = max(w.probe.FailureThreshold, 1)
	}
	if w.run < need {
		return false, false
	}
	changed = w.verdict != answer
	w.verdict = answer
	switch w.kind {
	case Startup:
		return changed, true
	case Liveness:
		return changed, answer == Failure
	default:
		return changed, false
	}
}
