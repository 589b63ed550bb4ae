package replicaset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"go.skiff.dev/skiff/internal/controllers/podstate"
	"go.skiff.dev/skiff/internal/reconcile"
	"go.skiff.dev/skiff/internal/reconcile/claim"
)

// claim returns the pods that belong to the set, after adoption and release.
func (c *Controller) claim(ctx context.Context, set *appsv1.ReplicaSet, selector labels.Selector) ([]*corev1.Pod, error) {
	owned, err := reconcile.ControlledBy[*corev1.Pod](c.pods, set.UID)
	if err != nil {
		return nil, err
	}
	free, err := reconcile.Uncontrolled[*corev1.Pod](c.pods, set.Namespace)
	if err != nil {
		return nil, err
	}
	settle := claim.Claim[*corev1.Pod]{
		Owner: set, Kind: kind, Selector: selector, Adopt: podstate.Active,
		Fresh: func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().ReplicaSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
		},
		Patch: func(ctx context.Context, pod *corev1.Pod, patch []byte) (*corev1.Pod, error) {
			return c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		},
	}
	return settle.Settle(ctx, owned, free)
}
