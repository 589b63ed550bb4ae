package scheduler

import "go.skiff.dev/skiff/internal/reconcile"

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
