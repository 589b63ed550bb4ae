package deployment

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"go.skiff.dev/skiff/internal/reconcile"
	"go.skiff.dev/skiff/internal/reconcile/claim"
)

// claim returns copies of the ReplicaSets that belong to the Deployment, after
// adoption and release.
func (c *Controller) claim(ctx context.Context, d *appsv1.Deployment, selector labels.Selector) ([]*appsv1.ReplicaSet, error) {
	owned, err := reconcile.ControlledBy[*appsv1.ReplicaSet](c.sets, d.UID)
	if err != nil {
		return nil, err
	}
	free, err := reconcile.Uncontrolled[*appsv1.ReplicaSet](c.sets, d.Namespace)
	if err != nil {
		return nil, err
	}
	settle := claim.Claim[*appsv1.ReplicaSet]{
		Owner: d, Kind: kind, Selector: selector,
		Fresh: func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		},
		Patch: func(ctx context.Context, set *appsv1.ReplicaSet, patch []byte) (*appsv1.ReplicaSet, error) {
			return c.client.AppsV1().ReplicaSets(set.Namespace).Patch(ctx, set.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		},
	}
	mine, err := settle.Settle(ctx, owned, free)
	if err != nil {
		return nil, err
	}
	copies := make([]*appsv1.ReplicaSet, len(mine))
	for i, set := range mine {
		copies[i] = set.DeepCopy()
	}
	return copies, nil
}
