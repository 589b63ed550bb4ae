package garbage

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
)

// fate sorts an object's owners: solid ones keep it, gone ones do not exist,
// waiting ones are being deleted in the foreground and wait for it.
type fate struct{ solid, gone, waiting []metav1.OwnerReference }

func (c *Controller) classify(ctx context.Context, n view, owners []metav1.OwnerReference) (fate, error) {
	var f fate
	for _, reference := range owners {
		owner, known := c.graph.view(reference.UID)
		if known && !owner.virtual && owner.namedBy(reference, n.namespace) {
			if owner.foreground && reference.BlockOwnerDeletion != nil && *reference.BlockOwnerDeletion {
				f.waiting = append(f.waiting, reference)
			} else {
				f.solid = append(f.solid, reference)
			}
			continue
		}
		group, err := schema.ParseGroupVersion(reference.APIVersion)
		if err != nil {
			return f, fmt.Errorf("reading an owner reference of %s: %w", n.identity, err)
		}
		id := identity{reference.UID, group.WithKind(reference.Kind), n.namespace, reference.Name}
		live, err := c.get(ctx, id)
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			return f, err
		case err != nil || live.UID != reference.UID:
			f.gone = append(f.gone, reference)
			if known && !owner.virtual && owner.kind.Kind == reference.Kind && owner.namespace != "" && owner.namespace != n.namespace {
				c.reportNamespace(n.identity, reference)
			}
		case live.DeletionTimestamp != nil && slices.Contains(live.Finalizers, metav1.FinalizerDeleteDependents):
			f.waiting = append(f.waiting, reference)
		default:
			f.solid = append(f.solid, reference)
		}
	}
	return f, nil
}

// reportNamespace says that a reference across namespaces counts for nothing.
func (c *Controller) reportNamespace(id identity, reference metav1.OwnerReference) {
	c.recorder.Eventf(&corev1.ObjectReference{
		APIVersion: id.kind.GroupVersion().String(), Kind: id.kind.Kind, Namespace: id.namespace, Name: id.name, UID: id.uid,
	}, corev1.EventTypeWarning, "OwnerRefInvalidNamespace",
		"ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
		reference.APIVersion, reference.Kind, id.namespace, reference.Name, reference.UID, id.namespace)
}

// exists asks the API for exactly this object.
func (c *Controller) exists(ctx context.Context, id identity) (bool, error) {
	live, err := c.get(ctx, id)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil && live.UID == id.uid, err
}

func (c *Controller) get(ctx context.Context, id identity) (*metav1.PartialObjectMetadata, error) {
	client, err := c.resource(id)
	if err != nil {
		return nil, err
	}
	return client.Get(ctx, id.name, metav1.GetOptions{})
}

// resource returns the client for an object's kind.
func (c *Controller) resource(id identity) (metadata.ResourceInterface, error) {
	resource, namespaced, ok := c.monitors.resourceOf(id.kind)
	if !ok {
		return nil, fmt.Errorf("looking up %s: the kind %s is not served", id, id.kind)
	}
	if !namespaced {
		return c.metadata.Resource(resource), nil
	}
	if id.namespace == "" {
		return nil, fmt.Errorf("looking up %s: a cluster-scoped object cannot have a namespaced owner", id)
	}
	return c.metadata.Resource(resource).Namespace(id.namespace), nil
}

// dropOwners removes references to the given owners.
func (c *Controller) dropOwners(ctx context.Context, id identity, drop map[types.UID]bool) error {
	return c.patch(ctx, id, func(live *metav1.PartialObjectMetadata) map[string]any {
		keep := slices.DeleteFunc(slices.Clone(live.OwnerReferences), func(r metav1.OwnerReference) bool { return drop[r.UID] })
		if len(keep) == len(live.OwnerReferences) {
			return nil
		}
		return map[string]any{"ownerReferences": keep}
	})
}

// unblock makes an object's references stop blocking its owners' deletion.
func (c *Controller) unblock(ctx context.Context, id identity) error {
	return c.patch(ctx, id, func(live *metav1.PartialObjectMetadata) map[string]any {
		list := slices.Clone(live.OwnerReferences)
		for i := range list {
			no := false
			list[i].BlockOwnerDeletion = &no
		}
		return map[string]any{"ownerReferences": list}
	})
}

func (c *Controller) dropFinalizer(ctx context.Context, id identity, finalizer string) error {
	return c.patch(ctx, id, func(live *metav1.PartialObjectMetadata) map[string]any {
		keep := slices.DeleteFunc(slices.Clone(live.Finalizers), func(f string) bool { return f == finalizer })
		if len(keep) == len(live.Finalizers) {
			return nil
		}
		return map[string]any{"finalizers": keep}
	})
}

// patch reads an object and merges a change of its metadata into exactly the
// version read. An object that is gone, or is another one now, is no error.
func (c *Controller) patch(ctx context.Context, id identity, change func(*metav1.PartialObjectMetadata) map[string]any) error {
	client, err := c.resource(id)
	if err != nil {
		return err
	}
	live, err := client.Get(ctx, id.name, metav1.GetOptions{})
	if err != nil || live.UID != id.uid {
		return client404(err)
	}
	fields := change(live)
	if fields == nil {
		return nil
	}
	fields["uid"], fields["resourceVersion"] = live.UID, live.ResourceVersion
	patch, err := json.Marshal(map[string]any{"metadata": fields})
	if err != nil {
		return fmt.Errorf("encoding patch: %w", err)
	}
	_, err = client.Patch(ctx, id.name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err = client404(err); err != nil {
		return fmt.Errorf("patching %s: %w", id, err)
	}
	return nil
}
