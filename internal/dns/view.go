package dns

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"go.skiff.dev/skiff/internal/endpoint"
)

// view turns the informers' events into changes of the names, one service at a
// time. The index is locked while a service's names change; the names' own lock
// is taken inside of it, never the other way round.
type view struct {
	*endpoint.Index
	names  *names
	synced []cache.InformerSynced
}

func newView(factory informers.SharedInformerFactory, n *names) *view {
	v := &view{names: n}
	v.Index = endpoint.NewIndex(v.update, v.updateHeadless)
	if factory != nil {
		v.synced = append(v.Watch(factory), endpoint.Subscribe(factory.Core().V1().Pods().Informer(), v.setPod))
	}
	return v
}

func (v *view) waitSynced(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), v.synced...)
}

// update makes the names of a service that changed. The index is locked.
func (v *view) update(service string) {
	svc := v.Services[service]
	if svc == nil {
		v.names.set(service, nil)
		return
	}
	v.names.set(service, serviceRecords(v.names.domain, svc, slices.Collect(maps.Values(v.Slices[service]))))
}

// updateHeadless makes the names of a service whose slices changed, if they are
// what its names lead to. The index is locked.
func (v *view) updateHeadless(service string) {
	if svc := v.Services[service]; svc != nil && svc.Spec.ClusterIP == corev1.ClusterIPNone {
		v.update(service)
	}
}

func (v *view) setPod(old, now *corev1.Pod) {
	was, is := podAddresses(old), podAddresses(now)
	if old != nil && now != nil && slices.Equal(was, is) {
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
