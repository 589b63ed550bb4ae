// Package scheduler gives each pod a node.
package scheduler

import (
	"context"
	"errors"
	"log/slog"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"skiff.dev/skiff/internal/lifecycle"
	"skiff.dev/skiff/internal/reconcile"
)

// Name is the scheduler's name in pods (spec.schedulerName) and events.
const Name = "default-scheduler"

// Deps is what the scheduler sees of the world.
type Deps struct {
	// Client acts as system:kube-scheduler, without a rate limit.
	Client kubernetes.Interface
	// Informers is shared by the whole process; New registers handlers.
	Informers informers.SharedInformerFactory

	// Optional from here on.
	Clock    clock.WithDelayedExecution
	Log      *slog.Logger
	Recorder record.EventRecorder
}

// Scheduler is the scheduler, ready to run.
type Scheduler struct{ deps Deps }

// New builds the scheduler and registers its handlers with the informers.
func New(d Deps) (*Scheduler, error) {
	return &Scheduler{deps: d}, nil
}

// Component runs the scheduler after the named components are ready.
func (s *Scheduler) Component(needs ...string) lifecycle.Component {
	return lifecycle.Component{Name: "scheduler", Needs: needs, Run: s.Run}
}

// Run schedules pods until ctx ends and the bindings in progress have ended.
func (s *Scheduler) Run(ctx context.Context, ready func()) error {
	return errors.New("the scheduler is not there yet")
}

// Reads declares what the scheduler reads.
func (s *Scheduler) Reads() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Watches("", "pods"), reconcile.Watches("", "nodes"), reconcile.Watches("", "namespaces"),
	}
}

// Writes declares what the scheduler writes.
func (s *Scheduler) Writes() []reconcile.Access {
	return []reconcile.Access{
		reconcile.Does("", "pods/binding", "create"),
		reconcile.Does("", "pods/status", "patch"),
		reconcile.Does("", "pods", "delete"),
		reconcile.Records(),
	}
}
