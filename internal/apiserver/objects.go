package apiserver

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// boundObjects looks up what tokens are bound to, past all caches: a token must
// end with its pod, not a while later.
type boundObjects struct {
	client kubernetes.Interface
}

// ServiceAccount implements authn.Objects.
func (o boundObjects) ServiceAccount(ctx context.Context, namespace, name string) (metav1.Object, error) {
	return o.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Pod implements authn.Objects.
func (o boundObjects) Pod(ctx context.Context, namespace, name string) (metav1.Object, error) {
	return o.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Secret implements authn.Objects.
func (o boundObjects) Secret(ctx context.Context, namespace, name string) (metav1.Object, error) {
	return o.client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
}

// Node implements authn.Objects.
func (o boundObjects) Node(ctx context.Context, name string) (metav1.Object, error) {
	return o.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
}
