// Package rootca publishes the cluster's root certificate in each namespace as
// the ConfigMap kube-root-ca.crt, from where it is mounted beside the tokens.
//
// Owns: ConfigMaps named kube-root-ca.crt, their data whole. Reads: namespaces,
// configmaps of that name. Writes: configmaps.
//
// Invariant: an active namespace has it with exactly our data, soon after it
// exists and soon after somebody changes or deletes it.
//
// Differences from upstream: only the ConfigMaps of that name are watched.
package rootca

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"go.skiff.dev/skiff/internal/reconcile"
)

const (
	// Name is the controller's name.
	Name = "root-ca-certificate-publisher-controller"
	// configMap and key are fixed by the projected token volume.
	configMap = "kube-root-ca.crt"
	key       = "ca.crt"
	// description is the annotation that upstream sets.
	descriptionKey = "kubernetes.io/description"
	description    = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// RootCA is the bundle to publish, in PEM.
	RootCA  []byte
	Options reconcile.Options[string]
}

// Controller is the root certificate publisher; its keys are namespaces.
type Controller struct {
	client     kubernetes.Interface
	namespaces corelisters.NamespaceLister
	maps       cache.SharedIndexInformer
	data       map[string]string
	loop       *reconcile.Loop[string]
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	namespaces := d.Informers.Core().V1().Namespaces()
	c := &Controller{client: d.Client, namespaces: namespaces.Lister(), data: map[string]string{key: string(d.RootCA)}}
	c.maps = coreinformers.NewFilteredConfigMapInformer(d.Client, metav1.NamespaceAll, 0, cache.Indexers{},
		func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, configMap).String()
		})
	o := d.Options
	o.Name, o.Reconcile, o.Workers = Name, c.Reconcile, 2
	c.loop = reconcile.New(o)
	c.loop.WatchEvents(namespaces.Informer(), reconcile.Handler{
		Add:    func(n metav1.Object) { c.loop.Add(n.GetName()) },
		Update: func(_, n metav1.Object) { c.loop.Add(n.GetName()) },
	})
	c.loop.Watch(c.maps, func(m metav1.Object) { c.loop.Add(m.GetNamespace()) })
	return c, nil
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{reconcile.Watches("", "namespaces"), reconcile.Watches("", "configmaps")}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{reconcile.Does("", "configmaps", "create", "update")}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	go c.maps.RunWithContext(ctx)
	return c.loop.Run(ctx)
}

// Reconcile makes sure that one namespace has the certificate.
func (c *Controller) Reconcile(ctx context.Context, namespace string) (reconcile.Result, error) {
	n, err := c.namespaces.Get(namespace)
	if apierrors.IsNotFound(err) || err == nil && n.Status.Phase == corev1.NamespaceTerminating {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	object, ok, err := c.maps.GetStore().GetByKey(namespace + "/" + configMap)
	if err != nil {
		return reconcile.Result{}, err
	}
	if have, _ := object.(*corev1.ConfigMap); ok && have != nil {
		return reconcile.Result{}, c.update(ctx, have)
	}
	_, err = c.client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: configMap, Namespace: namespace, Annotations: map[string]string{descriptionKey: description}},
		Data:       c.data,
	}, metav1.CreateOptions{})
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, fmt.Errorf("creating config map %q in %q: %w", configMap, namespace, err)
}

func (c *Controller) update(ctx context.Context, have *corev1.ConfigMap) error {
	if have.DeletionTimestamp != nil || maps.Equal(have.Data, c.data) && have.Annotations[descriptionKey] == description {
		return nil
	}
	want := have.DeepCopy()
	want.Data = c.data
	if want.Annotations == nil {
		want.Annotations = map[string]string{}
	}
	want.Annotations[descriptionKey] = description
	_, err := c.client.CoreV1().ConfigMaps(want.Namespace).Update(ctx, want, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("updating config map %q in %q: %w", configMap, want.Namespace, err)
	}
	return nil
}
