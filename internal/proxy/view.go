package proxy

import (
	"context"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// view is the cluster as the proxy sees it: services, their slices, and the
// names of those that changed since the last look. Events only mark; the loop
// that looks takes all that gathered while it was busy.
type view struct {
	mu       sync.Mutex
	services map[string]*corev1.Service
	slices   map[string]map[string]*discoveryv1.EndpointSlice // by service, by slice
	dirty    map[string]bool
	draining map[netip.Addr]map[string]bool // services that the address still serves
	waiting  []chan struct{}                // for the next pass to end
	wake     chan struct{}
	synced   []cache.InformerSynced
}

func newView(factory informers.SharedInformerFactory) *view {
	v := &view{
		services: map[string]*corev1.Service{}, slices: map[string]map[string]*discoveryv1.EndpointSlice{},
		dirty: map[string]bool{}, draining: map[netip.Addr]map[string]bool{}, wake: make(chan struct{}, 1),
	}
	if factory == nil {
		return v
	}
	v.watch(factory.Core().V1().Services().Informer(), func(obj any, deleted bool) {
		if svc, ok := obj.(*corev1.Service); ok {
			v.setService(svc, deleted)
		}
	})
	v.watch(factory.Discovery().V1().EndpointSlices().Informer(), func(obj any, deleted bool) {
		if s, ok := obj.(*discoveryv1.EndpointSlice); ok {
			v.setSlice(s, deleted)
		}
	})
	return v
}

func (v *view) watch(informer cache.SharedIndexInformer, set func(obj any, deleted bool)) {
	reg, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { set(obj, false) },
		UpdateFunc: func(_, obj any) { set(obj, false) },
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			set(obj, true)
		},
	})
	if err != nil {
		// Only a stopped informer refuses a handler, and then nothing runs.
		v.synced = append(v.synced, func() bool { return false })
		return
	}
	v.synced = append(v.synced, reg.HasSynced)
}

func (v *view) waitSynced(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), v.synced...)
}

func (v *view) setService(svc *corev1.Service, deleted bool) {
	name := svc.Namespace + "/" + svc.Name
	v.mu.Lock()
	defer v.mu.Unlock()
	if deleted {
		delete(v.services, name)
	} else {
		v.services[name] = svc
	}
	v.mark(name)
}

func (v *view) setSlice(s *discoveryv1.EndpointSlice, deleted bool) {
	owner := s.Labels[discoveryv1.LabelServiceName]
	if owner == "" {
		return
	}
	name := s.Namespace + "/" + owner
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.slices[name] == nil {
		v.slices[name] = map[string]*discoveryv1.EndpointSlice{}
	}
	if deleted {
		delete(v.slices[name], s.Name)
		if len(v.slices[name]) == 0 {
			delete(v.slices, name)
		}
	} else {
		v.slices[name][s.Name] = s
	}
	v.forgetDrained(name)
	v.mark(name)
}

// mark is called with the lock held.
func (v *view) mark(name string) {
	v.dirty[name] = true
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// drain marks an address as leaving. It returns a channel that is closed when
// the rules say so too, or nil if no service leads there.
func (v *view) drain(addr netip.Addr) <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	serves := map[string]bool{}
	for name := range v.slices {
		if v.leadsTo(name, addr) {
			serves[name] = true
			v.mark(name)
		}
	}
	if len(serves) == 0 {
		return nil
	}
	v.draining[addr] = serves
	done := make(chan struct{})
	v.waiting = append(v.waiting, done)
	return done
}

// leadsTo reports whether a ready endpoint of the service has the address.
func (v *view) leadsTo(name string, addr netip.Addr) bool {
	text := addr.String()
	for _, s := range v.slices[name] {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if len(e.Addresses) > 0 && e.Addresses[0] == text && deref(e.Conditions.Ready, true) {
				return true
			}
		}
	}
	return false
}

// forgetDrained ends the draining of addresses for which the service's slices
// have caught up: a pod that gets the address later is not touched by it.
func (v *view) forgetDrained(name string) {
	for addr, serves := range v.draining {
		if serves[name] && !v.leadsTo(name, addr) {
			delete(serves, name)
			if len(serves) == 0 {
				delete(v.draining, addr)
			}
		}
	}
}

// work is what one pass of the loop has to do.
type work struct {
	names    []string
	services map[string]*corev1.Service
	slices   map[string][]*discoveryv1.EndpointSlice
	draining map[string]map[netip.Addr]bool
	done     []chan struct{}
}

// take returns all that changed since the last call. Objects of informers are
// never written to, so sharing them is safe.
func (v *view) take() work {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := work{services: map[string]*corev1.Service{}, slices: map[string][]*discoveryv1.EndpointSlice{},
		draining: map[string]map[netip.Addr]bool{}, done: v.waiting}
	for name := range v.dirty {
		w.names = append(w.names, name)
		if svc := v.services[name]; svc != nil {
			w.services[name] = svc
		}
		for _, s := range v.slices[name] {
			w.slices[name] = append(w.slices[name], s)
		}
	}
	for addr, serves := range v.draining {
		for name := range serves {
			if w.draining[name] == nil {
				w.draining[name] = map[netip.Addr]bool{}
			}
			w.draining[name][addr] = true
		}
	}
	v.dirty, v.waiting = map[string]bool{}, nil
	return w
}

// again marks services for another pass.
func (v *view) again(names []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range names {
		v.mark(name)
	}
}
