package apiserver

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// patience is how many events wait for a reader before the watch cache decides
// what becomes of it. An event is a reference to an object that the cache has
// anyway.
const patience = 16384

// patientStorage gives each watch a queue of its own.
//
// The watch cache hands events to a watcher through a channel that holds ten
// of them in a small cluster, and ends the watch of one that does not keep up
// for some milliseconds. On a machine with two cores where a hundred pods start
// at once, everybody is late for longer than that: `kubectl get -w` would end in
// the middle, and informers would list everything anew just then.
type patientStorage struct {
	storage.Interface
}

// Watch implements storage.Interface.
func (s patientStorage) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	source, err := s.Interface.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	w := &patientWatch{source: source, events: make(chan watch.Event), stopped: make(chan struct{})}
	go w.run()
	return w, nil
}

// patientWatch reads its source at once and hands on as fast as it is read.
type patientWatch struct {
	source  watch.Interface
	events  chan watch.Event
	once    sync.Once
	stopped chan struct{}
}

// ResultChan implements watch.Interface.
func (w *patientWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop implements watch.Interface.
func (w *patientWatch) Stop() {
	w.once.Do(func() {
		close(w.stopped)
		w.source.Stop()
	})
}

// run ends when the source has ended and its last event was read, or at Stop.
func (w *patientWatch) run() {
	defer close(w.events)
	source := w.source.ResultChan()
	var queue []watch.Event
	for source != nil || len(queue) > 0 {
		in, out := source, chan watch.Event(nil)
		var next watch.Event
		if len(queue) > 0 {
			out, next = w.events, queue[0]
		}
		if len(queue) >= patience {
			in = nil
		}
		select {
		case e, ok := <-in:
			if !ok {
				source = nil
				continue
			}
			queue = append(queue, e)
		case out <- next:
			queue[0] = watch.Event{}
			queue = queue[1:]
		case <-w.stopped:
			return
		}
	}
}
