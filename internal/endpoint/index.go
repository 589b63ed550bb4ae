// Package endpoint keeps the cluster's Services and the EndpointSlices of each,
// as the informers tell of them, for the organs of the service path: proxy
// makes rules of them and dns makes names.
//
// # Who holds which lock
//
// An Index has one lock. It guards the maps, and an owner may guard with it
// what it derives from them, so that both change at once. The owner's two
// functions are called after each change, in an informer's goroutine, with the
// lock held: they may read the maps and take locks of the owner's own; they must
// not block, and must not lock the Index again. Whoever else reads the maps
// locks the Index first, and takes no lock before it that the two functions take.
//
// The objects are the informers': they are read, never written to, and so may
// be used after the lock is given back.
//
//	x := endpoint.NewIndex(serviceChanged, sliceChanged)
//	synced := x.Watch(factory)
//	factory.Start(ctx.Done())
//	cache.WaitForCacheSync(ctx.Done(), synced...)
package endpoint

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Index is the Services and their EndpointSlices. A slice may be there before
// its Service and after it.
type Index struct {
	sync.Mutex
	// Services by namespace/name.
	Services map[string]*corev1.Service
	// Slices by namespace/name of the Service that their label names, and by
	// their own name. A Service without a slice has no entry.
	Slices map[string]map[string]*discoveryv1.EndpointSlice

	serviceChanged, sliceChanged func(service string)
}

// NewIndex makes an empty Index. The functions get the namespace/name of the
// Service that changed, came or went, or that a slice of which did; see the
// package's comment for what they may do.
func NewIndex(serviceChanged, sliceChanged func(service string)) *Index {
	return &Index{Services: map[string]*corev1.Service{}, Slices: map[string]map[string]*discoveryv1.EndpointSlice{},
		serviceChanged: serviceChanged, sliceChanged: sliceChanged}
}

// Watch subscribes to the Services and EndpointSlices of a factory, which the
// caller starts afterwards, and returns what to wait for.
func (x *Index) Watch(factory informers.SharedInformerFactory) []cache.InformerSynced {
	return []cache.InformerSynced{
		Subscribe(factory.Core().V1().Services().Informer(), x.SetService),
		Subscribe(factory.Discovery().V1().EndpointSlices().Informer(), x.SetSlice),
	}
}

// SetService takes a Service as it was and as it is: nil for one that was not,
// or is no more.
func (x *Index) SetService(old, now *corev1.Service) {
	svc := either(old, now)
	if svc == nil {
		return
	}
	key := svc.Namespace + "/" + svc.Name
	x.Lock()
	defer x.Unlock()
	if now == nil {
		delete(x.Services, key)
	} else {
		x.Services[key] = now
	}
	x.serviceChanged(key)
}

// SetSlice takes an EndpointSlice as SetService takes a Service. One whose label
// names no Service is nobody's.
func (x *Index) SetSlice(old, now *discoveryv1.EndpointSlice) {
	s := either(old, now)
	if s == nil || s.Labels[discoveryv1.LabelServiceName] == "" {
		return
	}
	key := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
	x.Lock()
	defer x.Unlock()
	if x.Slices[key] == nil {
		x.Slices[key] = map[string]*discoveryv1.EndpointSlice{}
	}
	if now == nil {
		delete(x.Slices[key], s.Name)
	} else {
		x.Slices[key][s.Name] = now
	}
	if len(x.Slices[key]) == 0 {
		delete(x.Slices, key)
	}
	x.sliceChanged(key)
}

// either returns the object as it is, or as it last was.
func either[T any](old, now *T) *T {
	if now == nil {
		return old
	}
	return now
}
