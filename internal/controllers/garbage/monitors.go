package garbage

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"go.skiff.dev/skiff/internal/reconcile"
)

// shared lists the kinds that other controllers watch anyway: their objects are
// in the process's one cache already.
func shared(f informers.SharedInformerFactory) map[schema.GroupVersionKind]cache.SharedIndexInformer {
	return map[schema.GroupVersionKind]cache.SharedIndexInformer{
		corev1.SchemeGroupVersion.WithKind("Pod"):                f.Core().V1().Pods().Informer(),
		corev1.SchemeGroupVersion.WithKind("Node"):               f.Core().V1().Nodes().Informer(),
		corev1.SchemeGroupVersion.WithKind("Service"):            f.Core().V1().Services().Informer(),
		corev1.SchemeGroupVersion.WithKind("Namespace"):          f.Core().V1().Namespaces().Informer(),
		corev1.SchemeGroupVersion.WithKind("Endpoints"):          f.Core().V1().Endpoints().Informer(),
		appsv1.SchemeGroupVersion.WithKind("Deployment"):         f.Apps().V1().Deployments().Informer(),
		appsv1.SchemeGroupVersion.WithKind("ReplicaSet"):         f.Apps().V1().ReplicaSets().Informer(),
		discoveryv1.SchemeGroupVersion.WithKind("EndpointSlice"): f.Discovery().V1().EndpointSlices().Informer(),
	}
}

// ignored are kinds that own nothing, are owned by nothing and change all the time.
var ignored = []schema.GroupKind{{Group: "", Kind: "Event"}, {Group: "events.k8s.io", Kind: "Event"}}

// announcing are the kinds whose changes make other kinds come and go.
var announcing = []schema.GroupKind{
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"},
	{Group: "apiregistration.k8s.io", Kind: "APIService"},
}

// monitors keeps one source of events per kind.
type monitors struct {
	client   metadata.Interface
	graph    *graph
	announce func()
	shared   map[schema.GroupVersionKind]cache.DoneChecker

	first  chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
	mu     sync.Mutex
	ctx    context.Context
	active map[schema.GroupVersionKind]*monitor
	served map[schema.GroupVersionKind]served
}

type served struct {
	resource   schema.GroupVersionResource
	namespaced bool
}

func newMonitors(d Deps, g *graph, announce func()) *monitors {
	m := &monitors{
		client: d.Metadata, graph: g, announce: announce, first: make(chan struct{}),
		shared: map[schema.GroupVersionKind]cache.DoneChecker{},
		active: map[schema.GroupVersionKind]*monitor{}, served: map[schema.GroupVersionKind]served{},
	}
	for kind, informer := range shared(d.Informers) {
		m.shared[kind] = reconcile.Subscribe(informer, reconcile.Handler{
			Add:    func(o metav1.Object) { g.put(kind, o) },
			Update: func(_, o metav1.Object) { g.put(kind, o) },
			Delete: func(o metav1.Object) { g.remove(o.GetUID()) },
		})
	}
	return m
}

func (m *monitors) start(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ctx = ctx
}

func (m *monitors) stop() { m.wg.Wait() }

// patience bounds the wait for the first lists: one kind that cannot be read
// (an aggregated API that is down, say) must not stop all collection. Owners
// are read live before anything is deleted, so that a late kind does no harm.
const patience = 30 * time.Second

// waitSynced waits until every kind found at first has been read whole, or has
// had its time. It reports false if ctx ended.
func (m *monitors) waitSynced(ctx context.Context) bool {
	select {
	case <-m.first:
	case <-ctx.Done():
		return false
	}
	m.mu.Lock()
	var wait []cache.DoneChecker
	for _, checker := range m.shared {
		wait = append(wait, checker)
	}
	for _, one := range m.active {
		wait = append(wait, one)
	}
	m.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cache.WaitFor(limited, "", wait...)
	return ctx.Err() == nil
}

// update asks which kinds are served, and starts and stops monitors. It
// reports whether any kind came or went.
func (m *monitors) update(d discovery.DiscoveryInterface) (bool, error) {
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return false, fmt.Errorf("discovering resources: %w", err)
	}
	found := kindsOf(lists)
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := false
	for kind, s := range found {
		m.served[kind] = s.served
		if _, ok := m.shared[kind]; ok || m.active[kind] != nil || !s.watchable || slices.Contains(ignored, kind.GroupKind()) {
			continue
		}
		m.watch(kind, s.resource)
		changed = true
	}
	if err == nil {
		// After an incomplete answer nothing is believed to be gone.
		changed = m.dropMissing(found) || changed
	}
	m.once.Do(func() { close(m.first) })
	return changed, err
}

func (m *monitors) dropMissing(found map[schema.GroupVersionKind]foundKind) bool {
	changed := false
	for kind := range m.served {
		if _, ok := found[kind]; ok {
			continue
		}
		delete(m.served, kind)
		if one := m.active[kind]; one != nil {
			one.cancel()
			delete(m.active, kind)
			for _, uid := range m.graph.known(kind) {
				m.graph.remove(uid)
			}
			changed = true
		}
	}
	return changed
}

type foundKind struct {
	served
	watchable bool
}

// kindsOf reads discovery. Of a group that serves a kind in several versions
// the first one, the preferred, is watched; the others are known by name only.
func kindsOf(lists []*metav1.APIResourceList) map[schema.GroupVersionKind]foundKind {
	found := map[schema.GroupVersionKind]foundKind{}
	seen := map[schema.GroupKind]bool{}
	for _, list := range lists {
		group, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue
		}
		for _, r := range list.APIResources {
			if slices.Contains([]byte(r.Name), '/') {
				continue
			}
			kind := group.WithKind(r.Kind)
			verbs := []string(r.Verbs)
			watchable := slices.Contains(verbs, "list") && slices.Contains(verbs, "watch") && slices.Contains(verbs, "delete") && !seen[kind.GroupKind()]
			found[kind] = foundKind{served{group.WithResource(r.Name), r.Namespaced}, watchable}
			if watchable {
				seen[kind.GroupKind()] = true
			}
		}
	}
	return found
}

// resourceOf finds the resource of a kind, of another version if that of the
// reference is not served.
func (m *monitors) resourceOf(kind schema.GroupVersionKind) (schema.GroupVersionResource, bool, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.served[kind]; ok {
		return s.resource, s.namespaced, true
	}
	for other, s := range m.served {
		if other.GroupKind() == kind.GroupKind() {
			return s.resource, s.namespaced, true
		}
	}
	return schema.GroupVersionResource{}, false, false
}

// watch starts the monitor of one kind; the lock is held.
func (m *monitors) watch(kind schema.GroupVersionKind, resource schema.GroupVersionResource) {
	ctx, cancel := context.WithCancel(m.ctx)
	one := &monitor{kind: kind, graph: m.graph, cancel: cancel, synced: make(chan struct{})}
	if slices.Contains(announcing, kind.GroupKind()) {
		one.announce = m.announce
	}
	m.active[kind] = one
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return m.client.Resource(resource).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return m.client.Resource(resource).Watch(ctx, o)
		},
	}, m.client)
	reflector := cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, one, cache.ReflectorOptions{Name: Name})
	m.wg.Go(func() { reflector.RunWithContext(ctx) })
}
