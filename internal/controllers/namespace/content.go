package namespace

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
)

var pods = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// outcome is what one attempt to empty a namespace found.
type outcome struct {
	discovery error
	failures  []error
	remains   []remainder
}

// remainder is a kind of which objects are left.
type remainder struct {
	resource schema.GroupVersionResource
	// version is that of the list, to watch from.
	version    string
	count      int
	finalizers map[string]int
}

func (o *outcome) done() bool {
	return o.discovery == nil && len(o.failures) == 0 && len(o.remains) == 0
}

// target is a namespaced kind that can be deleted.
type target struct {
	resource                         schema.GroupVersionResource
	collection, listable, individual bool
}

// empty deletes everything in the namespace: the pods, and when they are gone,
// all else.
func (c *Controller) empty(ctx context.Context, namespace string) outcome {
	var o outcome
	targets, err := c.targets()
	o.discovery = err
	first := slices.IndexFunc(targets, func(t target) bool { return t.resource == pods })
	if first >= 0 {
		c.clear(ctx, namespace, targets[first], &o)
		if len(o.remains)+len(o.failures) > 0 {
			return o
		}
		targets = slices.Delete(targets, first, first+1)
	}
	for _, t := range targets {
		c.clear(ctx, namespace, t, &o)
	}
	return o
}

// targets asks discovery for all namespaced kinds, in their preferred versions.
func (c *Controller) targets() ([]target, error) {
	lists, err := discovery.ServerPreferredNamespacedResources(c.client.Discovery())
	var targets []target
	for _, list := range lists {
		group, parseErr := schema.ParseGroupVersion(list.GroupVersion)
		if parseErr != nil {
			return targets, fmt.Errorf("reading group %q: %w", list.GroupVersion, parseErr)
		}
		for _, r := range list.APIResources {
			verbs := []string(r.Verbs)
			t := target{
				resource:   group.WithResource(r.Name),
				collection: slices.Contains(verbs, "deletecollection"), listable: slices.Contains(verbs, "list"),
				individual: slices.Contains(verbs, "delete"),
			}
			if t.individual && t.listable {
				targets = append(targets, t)
			}
		}
	}
	slices.SortFunc(targets, func(a, b target) int {
		return cmp.Or(cmp.Compare(a.resource.Group, b.resource.Group), cmp.Compare(a.resource.Resource, b.resource.Resource))
	})
	return targets, err
}

// clear deletes the objects of one kind and notes what is left.
func (c *Controller) clear(ctx context.Context, namespace string, t target, o *outcome) {
	client := c.metadata.Resource(t.resource).Namespace(namespace)
	list, err := client.List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) || err == nil && len(list.Items) == 0 {
		return
	}
	if err == nil {
		err = c.deleteAll(ctx, namespace, t, list)
	}
	if err == nil {
		list, err = client.List(ctx, metav1.ListOptions{})
	}
	if err != nil {
		o.failures = append(o.failures, fmt.Errorf("deleting all %s: %w", t.resource.GroupResource(), err))
		return
	}
	if len(list.Items) == 0 {
		return
	}
	r := remainder{resource: t.resource, version: list.ResourceVersion, count: len(list.Items), finalizers: map[string]int{}}
	for i := range list.Items {
		for _, f := range list.Items[i].Finalizers {
			r.finalizers[f]++
		}
	}
	o.remains = append(o.remains, r)
}

func (c *Controller) deleteAll(ctx context.Context, namespace string, t target, list *metav1.PartialObjectMetadataList) error {
	client := c.metadata.Resource(t.resource).Namespace(namespace)
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if !slices.ContainsFunc(list.Items, func(m metav1.PartialObjectMetadata) bool { return m.DeletionTimestamp == nil }) {
		return nil
	}
	if t.collection {
		err := client.DeleteCollection(ctx, options, metav1.ListOptions{})
		if !apierrors.IsMethodNotSupported(err) {
			return client404(err)
		}
	}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp != nil {
			continue
		}
		if err := client404(client.Delete(ctx, list.Items[i].Name, options)); err != nil {
			return err
		}
	}
	return nil
}

// waitFor watches the first kind of which something remains, and looks at the
// namespace again when one of its objects is gone.
func (c *Controller) waitFor(namespace string, o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[namespace] != nil || len(o.remains) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.waiting[namespace] = cancel
	r := o.remains[0]
	go func() {
		defer c.loop.Add(namespace)
		defer c.stopWaiting(namespace)
		c.watchUntilFewer(ctx, namespace, r)
	}()
}

func (c *Controller) watchUntilFewer(ctx context.Context, namespace string, r remainder) {
	w, err := c.metadata.Resource(r.resource).Namespace(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: r.version})
	if err != nil {
		<-ctx.Done()
		return
	}
	defer w.Stop()
	left := r.count
	for {
		select {
		case <-ctx.Done():
			return
		case event, ok := <-w.ResultChan():
			if !ok || event.Type == watch.Error {
				return
			}
			if event.Type == watch.Deleted {
				left--
			}
			if left <= 0 {
				return
			}
		}
	}
}

func (c *Controller) stopWaiting(namespace string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.waiting[namespace]; cancel != nil {
		cancel()
		delete(c.waiting, namespace)
	}
}

// describeCounts and describeFinalizers are upstream's wording.
func describeCounts(remains []remainder) string {
	var list []string
	for _, r := range remains {
		list = append(list, fmt.Sprintf("%s.%s has %d resource instances", r.resource.Resource, r.resource.Group, r.count))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func describeFinalizers(remains []remainder) string {
	total := map[string]int{}
	for _, r := range remains {
		for f, count := range r.finalizers {
			total[f] += count
		}
	}
	var list []string
	for f, count := range total {
		list = append(list, fmt.Sprintf("%s in %d resource instances", f, count))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
