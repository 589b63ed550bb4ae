package endpoint

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	cachetest "k8s.io/client-go/tools/cache/testing"
)

func service(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
}

// slice is one of a Service; of none if that is "".
func slice(name, service string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	if service != "" {
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	}
	return s
}

// observed is an Index and the calls of its two functions.
type observed struct {
	*Index
	calls []string
	now   chan string // what is there after each call
}

func observe(t *testing.T) *observed {
	o := &observed{now: make(chan string, 16)}
	called := func(what string) func(string) {
		return func(name string) {
			if o.TryLock() {
				o.Unlock()
				t.Errorf("%s %s is told without the lock", what, name)
			}
			o.calls = append(o.calls, what+" "+name)
			o.now <- o.text()
		}
	}
	o.Index = NewIndex(called("service"), called("slice"))
	return o
}

// text is what the maps hold: the Services, and the slices of each.
func (o *observed) text() string {
	words := slices.Sorted(maps.Keys(o.Services))
	for _, name := range slices.Sorted(maps.Keys(o.Slices)) {
		words = append(words, name+"="+strings.Join(slices.Sorted(maps.Keys(o.Slices[name])), ","))
	}
	return strings.Join(words, " ")
}

func TestOrdersOfEvents(t *testing.T) {
	type handlers struct{ services, slices cache.ResourceEventHandler }
	type event func(handlers)
	add := func(name string) event { return func(h handlers) { h.services.OnAdd(service(name), false) } }
	change := func(name string) event {
		return func(h handlers) { h.services.OnUpdate(service(name), service(name)) }
	}
	remove := func(name string) event { return func(h handlers) { h.services.OnDelete(service(name)) } }
	addSlice := func(name, of string) event { return func(h handlers) { h.slices.OnAdd(slice(name, of), false) } }
	changeSlice := func(name, of string) event {
		return func(h handlers) { h.slices.OnUpdate(slice(name, of), slice(name, of)) }
	}
	removeSlice := func(name, of string) event { return func(h handlers) { h.slices.OnDelete(slice(name, of)) } }
	missed := func(obj any) event {
		return func(h handlers) {
			gone := cache.DeletedFinalStateUnknown{Key: "ns/web", Obj: obj}
			if _, ok := obj.(*discoveryv1.EndpointSlice); ok {
				h.slices.OnDelete(gone)
			} else {
				h.services.OnDelete(gone)
			}
		}
	}
	for name, c := range map[string]struct {
		events []event
		calls  string
		left   string
	}{
		"service before slice": {[]event{add("web"), addSlice("a", "web")}, "service ns/web, slice ns/web", "ns/web ns/web=a"},
		"slice before service": {[]event{addSlice("a", "web"), add("web")}, "slice ns/web, service ns/web", "ns/web ns/web=a"},
		"slice after service": {[]event{add("web"), addSlice("a", "web"), remove("web")},
			"service ns/web, slice ns/web, service ns/web", "ns/web=a"},
		"service comes back to its slice": {[]event{addSlice("a", "web"), add("web"), remove("web"), add("web")},
			"slice ns/web, service ns/web, service ns/web, service ns/web", "ns/web ns/web=a"},
		"changes": {[]event{add("web"), change("web"), addSlice("a", "web"), changeSlice("a", "web")},
			"service ns/web, service ns/web, slice ns/web, slice ns/web", "ns/web ns/web=a"},
		"one of two slices goes": {[]event{addSlice("a", "web"), addSlice("b", "web"), removeSlice("a", "web")},
			"slice ns/web, slice ns/web, slice ns/web", "ns/web=b"},
		"the last slice goes": {[]event{add("web"), addSlice("a", "web"), removeSlice("a", "web")},
			"service ns/web, slice ns/web, slice ns/web", "ns/web"},
		"a slice that nobody knew goes": {[]event{removeSlice("a", "web")}, "slice ns/web", ""},
		"two services":                  {[]event{add("web"), addSlice("a", "db"), addSlice("b", "web")}, "service ns/web, slice ns/db, slice ns/web", "ns/web ns/db=a ns/web=b"},
		"a slice without a label":       {[]event{addSlice("a", ""), changeSlice("a", ""), removeSlice("a", "")}, "", ""},
		"missed deletion of a service":  {[]event{add("web"), missed(service("web"))}, "service ns/web, service ns/web", ""},
		"missed deletion of a slice":    {[]event{addSlice("a", "web"), missed(slice("a", "web"))}, "slice ns/web, slice ns/web", ""},
		"missed deletion of who knows":  {[]event{add("web"), missed(nil)}, "service ns/web", "ns/web"},
	} {
		t.Run(name, func(t *testing.T) {
			o := observe(t)
			h := handlers{handler(o.SetService), handler(o.SetSlice)}
			for _, e := range c.events {
				e(h)
			}
			if got := strings.Join(o.calls, ", "); got != c.calls {
				t.Errorf("told %q, want %q", got, c.calls)
			}
			if got := o.text(); got != c.left {
				t.Errorf("left %q, want %q", got, c.left)
			}
		})
	}
}

func TestChangeReplacesTheObject(t *testing.T) {
	o := observe(t)
	before, after := service("web"), service("web")
	o.SetService(nil, before)
	o.SetService(before, after)
	if o.Services["ns/web"] != after {
		t.Error("the Service is the one that was")
	}
	was, is := slice("a", "web"), slice("a", "web")
	o.SetSlice(nil, was)
	o.SetSlice(was, is)
	if o.Slices["ns/web"]["a"] != is {
		t.Error("the slice is the one that was")
	}
}

// A factory's informers, that list and watch without a server.
func TestWatch(t *testing.T) {
	factory := informers.NewSharedInformerFactory(nil, 0)
	source := func(object runtime.Object) *cachetest.FakeControllerSource {
		from := cachetest.NewFakeControllerSource()
		factory.InformerFor(object, func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
			return cache.NewSharedIndexInformer(from, object, 0, cache.Indexers{})
		})
		return from
	}
	services, endpoints := source(&corev1.Service{}), source(&discoveryv1.EndpointSlice{})
	services.Add(service("web"))
	o := observe(t)
	synced := o.Watch(factory)
	factory.Start(t.Context().Done())
	if !cache.WaitForCacheSync(t.Context().Done(), synced...) {
		t.Fatal("the informers have not synced")
	}
	expect := func(want string) {
		t.Helper()
		if got := <-o.now; got != want {
			t.Errorf("there is %q, want %q", got, want)
		}
	}
	expect("ns/web")
	endpoints.Add(slice("a", "web"))
	expect("ns/web ns/web=a")
	endpoints.Delete(slice("a", "web"))
	expect("ns/web")
	services.Delete(service("web"))
	expect("")
}

func TestStoppedInformerNeverSyncs(t *testing.T) {
	informer := cache.NewSharedInformer(cachetest.NewFakeControllerSource(), &corev1.Service{}, 0)
	stopped := make(chan struct{})
	close(stopped)
	informer.Run(stopped)
	if Subscribe(informer, func(_, _ *corev1.Service) { t.Error("told of a Service") })() {
		t.Error("a stopped informer has synced")
	}
}
