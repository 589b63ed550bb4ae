package service

import (
	"context"
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"

	"go.skiff.dev/skiff/internal/apiserver/resource/kind"
)

// A claim is a key in the store that says which service holds an address or a
// node port. Creating it is atomic, so two services never get the same one,
// whichever servers they are created through, and a restart forgets nothing.
//
//	claim the address ──► store the service ──► done
//	        │                     └─ refused or lost: release the claim
//	        └─ exists: held by a service that is there and uses it: taken
//	                   held by nobody, and older than any request: taken over
//
// A crash between the two steps leaves a claim of nobody. It costs nothing
// until someone wants that value, who then takes it over.

// claimGrace is how long a claim is believed without its service: longer than
// any request that might be about to store it.
const claimGrace = 2 * time.Minute

// valueAnnotation holds the value: a name cannot hold an IPv6 address.
const valueAnnotation = "skiff.dev/value"

// claims are kept as Leases under a prefix of their own, which no group serves:
// one name per value, with its holder.
type claims struct {
	store    *kind.Store
	services *kind.Store
	now      func() time.Time
}

// holder is the service that a claim is for.
type holder struct {
	namespace, name string
	uid             types.UID
}

func holderOf(s *corev1.Service) holder { return holder{s.Namespace, s.Name, s.UID} }

func (h holder) encode() *string {
	text := h.namespace + "/" + h.name + "/" + string(h.uid)
	return &text
}

func decodeHolder(l *coordinationv1.Lease) (holder, bool) {
	if l.Spec.HolderIdentity == nil {
		return holder{}, false
	}
	parts := strings.SplitN(*l.Spec.HolderIdentity, "/", 3)
	if len(parts) != 3 {
		return holder{}, false
	}
	return holder{parts[0], parts[1], types.UID(parts[2])}, true
}

func newClaims(scheme *runtime.Scheme, getter generic.RESTOptionsGetter, services *kind.Store) (*claims, error) {
	k := kind.Kind[*coordinationv1.Lease]{
		Resource: schema.GroupResource{Group: coordinationv1.GroupName, Resource: "serviceclaims"},
		Version:  "v1",
		Singular: "serviceclaim",
		New:      func() *coordinationv1.Lease { return &coordinationv1.Lease{} },
		NewList:  func() runtime.Object { return &coordinationv1.LeaseList{} },
	}
	store, err := k.Store(scheme, getter)
	if err != nil {
		return nil, err
	}
	return &claims{store: store, services: services, now: time.Now}, nil
}

// key is the claim's name for a value; a colon is no part of a name.
func (c *claims) key(ctx context.Context, class, value string) (string, error) {
	return c.store.KeyFunc(ctx, class+"-"+strings.ReplaceAll(value, ":", "-"))
}

// take claims the value for the holder; it tells whether it got it.
func (c *claims) take(ctx context.Context, class, value string, h holder, dryRun bool) (bool, error) {
	key, err := c.key(ctx, class, value)
	if err != nil {
		return false, err
	}
	want := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name:        strings.TrimPrefix(key, c.store.KeyRootFunc(ctx)+"/"),
			Annotations: map[string]string{valueAnnotation: value},
		},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: h.encode(), AcquireTime: &metav1.MicroTime{Time: c.now()}},
	}
	for range 2 {
		err := c.store.Storage.Create(ctx, key, want, &coordinationv1.Lease{}, 0, dryRun)
		if err == nil {
			return true, nil
		}
		if !storage.IsExist(err) {
			return false, fmt.Errorf("claiming %s %s: %w", class, value, err)
		}
		free, err := c.takeOver(ctx, key, class, value, h, dryRun)
		if err != nil || !free {
			return false, err
		}
	}
	return false, nil
}

// takeOver removes a claim that nobody stands behind any more.
func (c *claims) takeOver(ctx context.Context, key, class, value string, h holder, dryRun bool) (bool, error) {
	got := &coordinationv1.Lease{}
	if err := c.store.Storage.Get(ctx, key, storage.GetOptions{}, got); err != nil {
		if storage.IsNotFound(err) {
			return true, nil
		}
		return false, fmt.Errorf("reading the claim of %s %s: %w", class, value, err)
	}
	holder, ok := decodeHolder(got)
	if ok && holder != h {
		if got.Spec.AcquireTime != nil && c.now().Sub(got.Spec.AcquireTime.Time) < claimGrace {
			return false, nil
		}
		if used, err := c.used(ctx, holder, class, value); err != nil || used {
			return false, err
		}
	}
	if dryRun {
		return false, nil
	}
	preconditions := &storage.Preconditions{ResourceVersion: &got.ResourceVersion}
	err := c.store.Storage.Delete(ctx, key, &coordinationv1.Lease{}, preconditions, storage.ValidateAllObjectFunc, false, nil, storage.DeleteOptions{})
	if err != nil && !storage.IsNotFound(err) && !storage.IsConflict(err) {
		return false, fmt.Errorf("taking over the claim of %s %s: %w", class, value, err)
	}
	return true, nil
}

// used tells whether the holder exists and has the value.
func (c *claims) used(ctx context.Context, h holder, class, value string) (bool, error) {
	obj, err := c.services.Get(genericapirequest.WithNamespace(ctx, h.namespace), h.name, &metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s := obj.(*corev1.Service)
	return s.UID == h.uid && held(s).has(class, value), nil
}

// release gives the value back, if the holder has it.
func (c *claims) release(ctx context.Context, class, value string, h holder) error {
	key, err := c.key(ctx, class, value)
	if err != nil {
		return err
	}
	mine := func(_ context.Context, obj runtime.Object) error {
		if got, ok := decodeHolder(obj.(*coordinationv1.Lease)); ok && got != h {
			return fmt.Errorf("held by %s/%s", got.namespace, got.name)
		}
		return nil
	}
	err = c.store.Storage.Delete(ctx, key, &coordinationv1.Lease{}, nil, mine, false, nil, storage.DeleteOptions{})
	if err != nil && !storage.IsNotFound(err) {
		return fmt.Errorf("releasing %s %s: %w", class, value, err)
	}
	return nil
}

// all are the values of a class that are claimed.
func (c *claims) all(ctx context.Context, class string) (map[string]bool, error) {
	list := &coordinationv1.LeaseList{}
	options := storage.ListOptions{Recursive: true, Predicate: storage.Everything}
	if err := c.store.Storage.GetList(ctx, c.store.KeyRootFunc(ctx), options, list); err != nil {
		return nil, fmt.Errorf("listing claims: %w", err)
	}
	values := map[string]bool{}
	for i := range list.Items {
		if strings.HasPrefix(list.Items[i].Name, class+"-") {
			values[list.Items[i].Annotations[valueAnnotation]] = true
		}
	}
	return values, nil
}
