package garbage

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// monitor feeds the graph from one kind's watch. It is the store of a reflector
// and stores nothing itself.
type monitor struct {
	kind     schema.GroupVersionKind
	graph    *graph
	cancel   context.CancelFunc
	announce func()
	once     sync.Once
	synced   chan struct{}
}

// Name is part of cache.DoneChecker.
func (m *monitor) Name() string { return m.kind.String() }

// Done is closed when all existing objects are in the graph.
func (m *monitor) Done() <-chan struct{} { return m.synced }

// Add is part of cache.ReflectorStore.
func (m *monitor) Add(object any) error {
	if o, ok := object.(metav1.Object); ok {
		m.graph.put(m.kind, o)
	}
	m.tell()
	return nil
}

// Update is part of cache.ReflectorStore.
func (m *monitor) Update(object any) error { return m.Add(object) }

// Delete is part of cache.ReflectorStore.
func (m *monitor) Delete(object any) error {
	if o, ok := object.(metav1.Object); ok {
		m.graph.remove(o.GetUID())
	}
	m.tell()
	return nil
}

// Replace takes a whole list: what the graph knows of the kind and the list
// does not hold is gone.
func (m *monitor) Replace(list []any, _ string) error {
	now := map[types.UID]bool{}
	for _, object := range list {
		if o, ok := object.(metav1.Object); ok {
			m.graph.put(m.kind, o)
			now[o.GetUID()] = true
		}
	}
	for _, uid := range m.graph.known(m.kind) {
		if !now[uid] {
			m.graph.remove(uid)
		}
	}
	m.once.Do(func() { close(m.synced) })
	m.tell()
	return nil
}

// Resync is part of cache.ReflectorStore.
func (m *monitor) Resync() error { return nil }

func (m *monitor) tell() {
	if m.announce != nil {
		m.announce()
	}
}
