package endpoint

import "k8s.io/client-go/tools/cache"

// Subscribe calls set with each of the informer's objects as it was and as it
// is: nil for one that was not, or is no more. It returns what to wait for.
func Subscribe[T any](informer cache.SharedInformer, set func(old, now *T)) cache.InformerSynced {
	reg, err := informer.AddEventHandler(handler(set))
	if err != nil {
		// Only a stopped informer refuses a handler, and then nothing runs.
		return func() bool { return false }
	}
	return reg.HasSynced
}

func handler[T any](set func(old, now *T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { set(nil, object[T](obj)) },
		UpdateFunc: func(old, obj any) { set(object[T](old), object[T](obj)) },
		DeleteFunc: func(obj any) { set(object[T](obj), nil) },
	}
}

// object is nil for anything else than a *T.
func object[T any](obj any) *T {
	// The watch missed the deletion: this is the last state that it knew.
	if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = last.Obj
	}
	t, _ := obj.(*T)
	return t
}
