package kubelet

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// renew renews the node's lease.
func (n *nodeStatus) renew(ctx context.Context) error {
	leases := n.k.deps.Client.CoordinationV1().Leases(v1.NamespaceNodeLease)
	now := metav1.NewMicroTime(time.Now())
	if n.lease != nil {
		next := n.lease.DeepCopy()
		next.Spec.RenewTime = &now
		got, err := leases.Update(ctx, next, metav1.UpdateOptions{})
		if err == nil {
			n.lease = got
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("renewing lease: %w", err)
		}
	}
	return n.takeLease(ctx, now)
}

func (n *nodeStatus) takeLease(ctx context.Context, now metav1.MicroTime) error {
	leases := n.k.deps.Client.CoordinationV1().Leases(v1.NamespaceNodeLease)
	name, seconds := n.k.deps.NodeName, int32(leaseSeconds)
	got, err := leases.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease := &coordinationv1.Lease{}
		lease.Name, lease.Namespace = name, v1.NamespaceNodeLease
		n.mu.Lock()
		if n.node != nil {
			lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: name, UID: n.node.UID}}
		}
		n.mu.Unlock()
		lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &now}
		n.lease, err = leases.Create(ctx, lease, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("making lease: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading lease: %w", err)
	}
	got.Spec.HolderIdentity, got.Spec.LeaseDurationSeconds, got.Spec.RenewTime = &name, &seconds, &now
	if n.lease, err = leases.Update(ctx, got, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("taking lease: %w", err)
	}
	return nil
}
