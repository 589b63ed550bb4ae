package kubelet

import (
	"context"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// objects watches the ConfigMaps and Secrets that the node's pods refer to, and
// no others: each one by name, once, however many pods use it. A node may read
// no other Secret (the node authorizer), and a large cluster's stay out of memory.
type objects struct {
	client kubernetes.Interface
	// changed is told which pod refers to an object that changed.
	changed func(pod types.UID)

	mu      sync.Mutex
	ctx     context.Context
	watched map[objectKey]*watched
	byPod   map[types.UID][]objectKey
}

// objectKey names a ConfigMap (or, with secret, a Secret).
type objectKey struct {
	secret          bool
	namespace, name string
}

// watched is one object under watch.
type watched struct {
	cancel context.CancelFunc
	users  map[types.UID]bool
	// first is closed when the object was read once; err and object are the
	// result, which each event of the watch replaces.
	first  chan struct{}
	object runtime.Object
	err    error
}

func newObjects(client kubernetes.Interface, changed func(types.UID)) *objects {
	return &objects{client: client, changed: changed, watched: map[objectKey]*watched{}, byPod: map[types.UID][]objectKey{}}
}

// start allows watches; they all end with ctx.
func (o *objects) start(ctx context.Context) { o.ctx = ctx }

// add begins to watch what a pod refers to.
func (o *objects) add(pod *v1.Pod) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.byPod[pod.UID]; ok {
		return
	}
	keys := referenced(pod)
	o.byPod[pod.UID] = keys
	for _, key := range keys {
		w := o.watched[key]
		if w == nil {
			ctx, cancel := context.WithCancel(o.ctx)
			w = &watched{cancel: cancel, users: map[types.UID]bool{}, first: make(chan struct{})}
			o.watched[key] = w
			go o.follow(ctx, key, w)
		}
		w.users[pod.UID] = true
	}
}

// remove ends the watches that only this pod needed.
func (o *objects) remove(uid types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range o.byPod[uid] {
		w := o.watched[key]
		if w == nil {
			continue
		}
		delete(w.users, uid)
		if len(w.users) == 0 {
			w.cancel()
			delete(o.watched, key)
		}
	}
	delete(o.byPod, uid)
}

// follow reads an object and then watches it until ctx ends.
func (o *objects) follow(ctx context.Context, key objectKey, w *watched) {
	again := retry{first: 200 * time.Millisecond, limit: 30 * time.Second}
	for ctx.Err() == nil {
		object, err := o.get(ctx, key)
		o.set(w, object, err, true)
		if err == nil || apierrors.IsNotFound(err) {
			if o.watch(ctx, key, w, object) {
				again.reset()
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(again.next()):
		}
	}
}

// set stores what was read and wakes the users if it is news to them.
func (o *objects) set(w *watched, object runtime.Object, err error, quiet bool) {
	o.mu.Lock()
	firstTime := false
	select {
	case <-w.first:
	default:
		firstTime = true
	}
	same := !firstTime && version(w.object) == version(object) && (w.err == nil) == (err == nil)
	if err != nil && !apierrors.IsNotFound(err) && !firstTime {
		same = true // keep what we have while the API server is away
	} else {
		w.object, w.err = object, err
	}
	if firstTime {
		close(w.first)
	}
	var users []types.UID
	for uid := range w.users {
		users = append(users, uid)
	}
	o.mu.Unlock()
	if same || firstTime && quiet {
		return
	}
	for _, uid := range users {
		o.changed(uid)
	}
}

func version(object runtime.Object) string {
	if m, ok := object.(metav1.Object); ok && m != nil {
		return m.GetResourceVersion()
	}
	return ""
}

func (o *objects) get(ctx context.Context, key objectKey) (object runtime.Object, err error) {
	if key.secret {
		object, err = o.client.CoreV1().Secrets(key.namespace).Get(ctx, key.name, metav1.GetOptions{})
	} else {
		object, err = o.client.CoreV1().ConfigMaps(key.namespace).Get(ctx, key.name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		err = key.missing()
	}
	if err != nil {
		return nil, err
	}
	return object, nil
}

// missing says that there is no such object, in the words of upstream's node
// agent, which names the kind in the singular.
func (k objectKey) missing() error {
	resource := "configmap"
	if k.secret {
		resource = "secret"
	}
	return apierrors.NewNotFound(v1.Resource(resource), k.name)
}

// watch follows one object from what was read, or from now if it does not
// exist. It reports whether the watch worked for a while.
func (o *objects) watch(ctx context.Context, key objectKey, w *watched, from runtime.Object) bool {
	options := metav1.ListOptions{
		FieldSelector:       fields.OneTermEqualSelector("metadata.name", key.name).String(),
		ResourceVersion:     version(from),
		AllowWatchBookmarks: true,
	}
	var stream watch.Interface
	var err error
	if key.secret {
		stream, err = o.client.CoreV1().Secrets(key.namespace).Watch(ctx, options)
	} else {
		stream, err = o.client.CoreV1().ConfigMaps(key.namespace).Watch(ctx, options)
	}
	if err != nil {
		return false
	}
	defer stream.Stop()
	worked := false
	for {
		select {
		case <-ctx.Done():
			return true
		case e, ok := <-stream.ResultChan():
			if !ok || e.Type == watch.Error {
				return worked
			}
			worked = true
			switch e.Type {
			case watch.Added, watch.Modified:
				o.set(w, e.Object, nil, false)
			case watch.Deleted:
				o.set(w, nil, key.missing(), false)
			}
		}
	}
}

// read gives an object, from its watch or, if no pod refers to it by name, from
// the API server.
func (o *objects) read(ctx context.Context, key objectKey) (runtime.Object, error) {
	o.mu.Lock()
	w := o.watched[key]
	o.mu.Unlock()
	if w == nil {
		return o.get(ctx, key)
	}
	select {
	case <-w.first:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	o.mu.Lock()
	object, err := w.object, w.err
	o.mu.Unlock()
	if err != nil {
		// It may have been made a moment ago: the API server has the last word.
		return o.get(ctx, key)
	}
	return object, nil
}

// ConfigMap gives a ConfigMap; the result is shared and must not be changed.
func (o *objects) ConfigMap(ctx context.Context, namespace, name string) (*v1.ConfigMap, error) {
	object, err := o.read(ctx, objectKey{namespace: namespace, name: name})
	if err != nil {
		return nil, err
	}
	return object.(*v1.ConfigMap), nil
}

// Secret gives a Secret; the result is shared and must not be changed.
func (o *objects) Secret(ctx context.Context, namespace, name string) (*v1.Secret, error) {
	object, err := o.read(ctx, objectKey{secret: true, namespace: namespace, name: name})
	if err != nil {
		return nil, err
	}
	return object.(*v1.Secret), nil
}
