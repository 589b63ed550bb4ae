// Package claim settles which objects belong to a controlling object: it adopts
// those that match the selector and belong to nobody, and releases those that
// match no longer. It owns the controller's owner reference and nothing else,
// and is shared by all controllers of workloads, so that all follow one rule.
package claim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Claim describes one claim.
type Claim[T metav1.Object] struct {
	// Owner claims, Kind is its kind.
	Owner metav1.Object
	Kind  schema.GroupVersionKind
	// Selector says which objects the owner wants.
	Selector labels.Selector
	// Fresh reads the owner from the API, not from the cache. An owner that is
	// being deleted must not adopt: the object would be collected with it.
	Fresh func(ctx context.Context) (metav1.Object, error)
	// Patch sends a strategic merge patch for the object.
	Patch func(ctx context.Context, object T, patch []byte) (T, error)
	// Adopt, if set, says which objects may be adopted at all.
	Adopt func(T) bool
}

// Settle returns the objects that belong to the owner now. owned are the cached
// objects that the owner controls, free those of its namespace that nobody does.
func (c *Claim[T]) Settle(ctx context.Context, owned, free []T) ([]T, error) {
	going := c.Owner.GetDeletionTimestamp() != nil
	var mine []T
	var errs []error
	for _, object := range owned {
		if object.GetNamespace() != c.Owner.GetNamespace() {
			continue
		}
		if going || object.GetDeletionTimestamp() != nil || c.matches(object) {
			mine = append(mine, object)
			continue
		}
		if err := c.release(ctx, object); err != nil {
			errs = append(errs, err)
		}
	}
	if going || c.Selector.Empty() {
		return mine, errors.Join(errs...)
	}
	adopted, err := c.adopt(ctx, free)
	return append(mine, adopted...), errors.Join(append(errs, err)...)
}

func (c *Claim[T]) matches(object T) bool {
	return c.Selector.Matches(labels.Set(object.GetLabels()))
}

func (c *Claim[T]) adopt(ctx context.Context, free []T) ([]T, error) {
	var adopted []T
	var errs []error
	checked := false
	for _, object := range free {
		if object.GetDeletionTimestamp() != nil || !c.matches(object) || c.Adopt != nil && !c.Adopt(object) {
			continue
		}
		if !checked {
			if err := c.mayAdopt(ctx); err != nil {
				return nil, err
			}
			checked = true
		}
		now, err := c.patch(ctx, object, map[string]any{
			"apiVersion": c.Kind.GroupVersion().String(), "kind": c.Kind.Kind,
			"name": c.Owner.GetName(), "uid": c.Owner.GetUID(),
			"controller": true, "blockOwnerDeletion": true,
		})
		switch {
		case err == nil:
			adopted = append(adopted, now)
		case !apierrors.IsNotFound(err):
			errs = append(errs, fmt.Errorf("adopting %q: %w", object.GetName(), err))
		}
	}
	return adopted, errors.Join(errs...)
}

func (c *Claim[T]) mayAdopt(ctx context.Context) error {
	fresh, err := c.Fresh(ctx)
	if err != nil {
		return fmt.Errorf("checking %s %q before adoption: %w", c.Kind.Kind, c.Owner.GetName(), err)
	}
	if fresh.GetUID() != c.Owner.GetUID() {
		return fmt.Errorf("adopting for %s %q: it is gone and another has its name", c.Kind.Kind, c.Owner.GetName())
	}
	if fresh.GetDeletionTimestamp() != nil {
		return fmt.Errorf("adopting for %s %q: it is being deleted", c.Kind.Kind, c.Owner.GetName())
	}
	return nil
}

func (c *Claim[T]) release(ctx context.Context, object T) error {
	_, err := c.patch(ctx, object, map[string]any{"$patch": "delete", "uid": c.Owner.GetUID()})
	// Invalid: the object of this uid or its reference is gone, so it is free.
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsInvalid(err) {
		return nil
	}
	return fmt.Errorf("releasing %q: %w", object.GetName(), err)
}

// patch changes one owner reference; the uid makes it apply to exactly this object.
func (c *Claim[T]) patch(ctx context.Context, object T, reference map[string]any) (T, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": object.GetUID(), "ownerReferences": []any{reference},
	}})
	if err != nil {
		var none T
		return none, fmt.Errorf("encoding patch: %w", err)
	}
	return c.Patch(ctx, object, patch)
}
