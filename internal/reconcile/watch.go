package reconcile

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// Watch calls changed with every object that the informer adds, updates or
// deletes. For an update it is called with the old and then with the new
// object where they belong to different controllers or carry different labels,
// so that whoever loses an object hears of it too; else with the new one only.
// Run waits until all existing objects have been delivered.
func (l *Loop[K]) Watch(informer cache.SharedInformer, changed func(metav1.Object)) {
	l.WatchEvents(informer, Handler{
		Add: changed,
		Update: func(old, object metav1.Object) {
			if old != nil && moved(old, object) {
				changed(old)
			}
			changed(object)
		},
		Delete: changed,
	})
}

// Handler receives the events of one informer. Nil functions are skipped.
type Handler struct {
	Add    func(metav1.Object)
	Update func(old, object metav1.Object)
	Delete func(metav1.Object)
}

// WatchEvents delivers the informer's events to the handler; Run waits for it.
func (l *Loop[K]) WatchEvents(informer cache.SharedInformer, h Handler) {
	l.synced = append(l.synced, Subscribe(informer, h))
}

// Needs makes Run wait for the informer's cache, where the controller reads
// objects without being told of their changes.
func (l *Loop[K]) Needs(informer cache.SharedInformer) {
	l.synced = append(l.synced, informer.HasSyncedChecker())
}

// Subscribe delivers the informer's events to the handler and returns what to
// wait for.
func Subscribe(informer cache.SharedInformer, h Handler) cache.DoneChecker {
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			if o := metaOf(object); o != nil && h.Add != nil {
				h.Add(o)
			}
		},
		UpdateFunc: func(before, after any) {
			if o := metaOf(after); o != nil && h.Update != nil {
				h.Update(metaOf(before), o)
			}
		},
		DeleteFunc: func(object any) {
			if o := metaOf(object); o != nil && h.Delete != nil {
				h.Delete(o)
			}
		},
	})
	if err != nil {
		// Only a stopped informer refuses; its cache is never waited for.
		return informer.HasSyncedChecker()
	}
	return registration.HasSyncedChecker()
}

func metaOf(object any) metav1.Object {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	o, ok := object.(metav1.Object)
	if !ok {
		return nil
	}
	return o
}

func moved(old, object metav1.Object) bool {
	a, b := metav1.GetControllerOfNoCopy(old), metav1.GetControllerOfNoCopy(object)
	if (a == nil) != (b == nil) || a != nil && a.UID != b.UID {
		return true
	}
	return !sameLabels(old.GetLabels(), object.GetLabels())
}

func sameLabels(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	return true
}
