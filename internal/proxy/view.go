package proxy

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"go.skiff.dev/skiff/internal/endpoint"
)

// view is the cluster as the proxy sees it: services, their slices, and the
// names of those that changed since the last look. Events only mark; the loop
// that looks takes all that gathered while it was busy. The index's lock guards
// what is here as well.
type view struct {
	*endpoint.Index
	dirty    map[string]bool
	draining map[netip.Addr]map[string]bool // services that the address still serves
	waiting  []chan struct{}                // for the next pass to end
	wake     chan struct{}
	synced   []cache.InformerSynced
}

func newView(factory informers.SharedInformerFactory) *view {
	v := &view{dirty: map[string]bool{}, draining: map[netip.Addr]map[string]bool{}, wake: make(chan struct{}, 1)}
	v.Index = endpoint.NewIndex(v.mark, func(name string) {
		v.forgetDrained(name)
		v.mark(name)
	})
	if factory != nil {
		v.synced = v.Watch(factory)
	}
	return v
}

func (v *view) waitSynced(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), v.synced...)
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
	v.Lock()
	defer v.Unlock()
	serves := map[string]bool{}
	for name := range v.Slices {
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
	for _, s := range v.Slices[name] {
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
	v.Lock()
	defer v.Unlock()
	w := work{services: map[string]*corev1.Service{}, slices: map[string][]*discoveryv1.EndpointSlice{},
		draining: map[string]map[netip.Addr]bool{}, done: v.waiting}
	for name := range v.dirty {
		w.names = append(w.names, name)
		if svc := v.Services[name]; svc != nil {
			w.services[name] = svc
		}
		w.slices[name] = slices.Collect(maps.Values(v.Slices[name]))
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
	v.Lock()
	defer v.Unlock()
	for _, name := range names {
		v.mark(name)
	}
}
