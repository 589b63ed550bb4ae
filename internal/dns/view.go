package dns

import (
	"context"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// view turns the informers' events into changes of the names, one service at a time.
type view struct {
	names *names

	mu       sync.Mutex
	services map[string]*corev1.Service
	slices   map[string]map[string]*discoveryv1.EndpointSlice
	synced   []cache.InformerSynced
}

func newView(factory informers.SharedInformerFactory, n *names) *view {
	v := &view{names: n, services: map[string]*corev1.Service{}, slices: map[string]map[string]*discoveryv1.EndpointSlice{}}
	if factory == nil {
		return v
	}
	v.watch(factory.Core().V1().Services().Informer(), func(old, obj any) {
		if svc, ok := either[*corev1.Service](old, obj); ok {
			v.setService(svc, obj == nil)
		}
	})
	v.watch(factory.Discovery().V1().EndpointSlices().Informer(), func(old, obj any) {
		if s, ok := either[*discoveryv1.EndpointSlice](old, obj); ok {
			v.setSlice(s, obj == nil)
		}
	})
	v.watch(factory.Core().V1().Pods().Informer(), func(old, obj any) {
		before, _ := old.(*corev1.Pod)
		now, _ := obj.(*corev1.Pod)
		v.setPod(before, now)
	})
	return v
}

// either returns the new object, or the old one of a deletion.
func either[T any](old, obj any) (T, bool) {
	if obj == nil {
		obj = old
	}
	t, ok := obj.(T)
	return t, ok
}

// watch calls set with the object before and after: nil for one that was not,
// or is no more.
func (v *view) watch(informer cache.SharedIndexInformer, set func(old, obj any)) {
	reg, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { set(nil, obj) },
		UpdateFunc: func(old, obj any) { set(old, obj) },
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			set(obj, nil)
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
	key := svc.Namespace + "/" + svc.Name
	v.mu.Lock()
	defer v.mu.Unlock()
	if deleted {
		delete(v.services, key)
	} else {
		v.services[key] = svc
	}
	v.update(key)
}

func (v *view) setSlice(s *discoveryv1.EndpointSlice, deleted bool) {
	owner := s.Labels[discoveryv1.LabelServiceName]
	if owner == "" {
		return
	}
	key := s.Namespace + "/" + owner
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.slices[key] == nil {
		v.slices[key] = map[string]*discoveryv1.EndpointSlice{}
	}
	if deleted {
		delete(v.slices[key], s.Name)
		if len(v.slices[key]) == 0 {
			delete(v.slices, key)
		}
	} else {
		v.slices[key][s.Name] = s
	}
	if svc := v.services[key]; svc != nil && svc.Spec.ClusterIP == corev1.ClusterIPNone {
		v.update(key)
	}
}

// update is called with the lock held.
func (v *view) update(key string) {
	svc := v.services[key]
	if svc == nil {
		v.names.set(key, nil)
		return
	}
	var slices []*discoveryv1.EndpointSlice
	for _, s := range v.slices[key] {
		slices = append(slices, s)
	}
	v.names.set(key, serviceRecords(v.names.domain, svc, slices))
}

func (v *view) setPod(old, now *corev1.Pod) {
	was, is := podAddresses(old), podAddresses(now)
	if old != nil && now != nil && equal(was, is) {
		return
	}
	if old != nil {
		v.names.setPod(old.Namespace, was, false)
	}
	if now != nil {
		v.names.setPod(now.Namespace, is, true)
	}
}

// podAddresses are those that the pod has its name for; a pod that ended has
// given them back.
func podAddresses(pod *corev1.Pod) []netip.Addr {
	if pod == nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	var addrs []netip.Addr
	for _, ip := range pod.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

func equal(a, b []netip.Addr) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
