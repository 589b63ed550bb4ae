// Package serviceaccount gives each namespace its ServiceAccount "default".
//
// Owns: the existence of ServiceAccounts named default; nothing of their
// content. Reads: namespaces, serviceaccounts named default. Writes:
// serviceaccounts (create).
//
// Invariant: an active namespace has the account soon after it exists, and
// again soon after somebody deletes it.
//
// Differences from upstream: only the accounts of that name are watched, so
// that no cache of all accounts is kept for this. There are no legacy token
// Secrets; tokens are requested, and bound to their pod.
package serviceaccount

import (
	"context"
	"fmt"

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
	Name = "serviceaccount-controller"
	// account is the account that pods get when they name none.
	account = "default"
)

// Deps is what the controller sees of the world.
type Deps struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Options   reconcile.Options[string]
}

// Controller is the ServiceAccount controller; its keys are namespaces.
type Controller struct {
	client     kubernetes.Interface
	namespaces corelisters.NamespaceLister
	accounts   cache.SharedIndexInformer
	loop       *reconcile.Loop[string]
}

// New builds the controller and registers its handlers.
func New(d Deps) (*Controller, error) {
	namespaces := d.Informers.Core().V1().Namespaces()
	c := &Controller{client: d.Client, namespaces: namespaces.Lister()}
	c.accounts = coreinformers.NewFilteredServiceAccountInformer(d.Client, metav1.NamespaceAll, 0, cache.Indexers{},
		func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, account).String()
		})
	o := d.Options
	o.Name, o.Reconcile, o.Workers = Name, c.Reconcile, 2
	c.loop = reconcile.New(o)
	c.loop.WatchEvents(namespaces.Informer(), reconcile.Handler{
		Add:    func(n metav1.Object) { c.loop.Add(n.GetName()) },
		Update: func(_, n metav1.Object) { c.loop.Add(n.GetName()) },
	})
	c.loop.WatchEvents(c.accounts, reconcile.Handler{Delete: func(a metav1.Object) { c.loop.Add(a.GetNamespace()) }})
	return c, nil
}

// Name is the controller's name.
func (c *Controller) Name() string { return Name }

// Reads declares what the controller reads.
func (c *Controller) Reads() []reconcile.Access {
	return []reconcile.Access{reconcile.Watches("", "namespaces"), reconcile.Watches("", "serviceaccounts")}
}

// Writes declares what the controller writes.
func (c *Controller) Writes() []reconcile.Access {
	return []reconcile.Access{reconcile.Does("", "serviceaccounts", "create")}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	go c.accounts.RunWithContext(ctx)
	return c.loop.Run(ctx)
}

// Reconcile makes sure that one namespace has its account.
func (c *Controller) Reconcile(ctx context.Context, namespace string) (reconcile.Result, error) {
	n, err := c.namespaces.Get(namespace)
	if apierrors.IsNotFound(err) || err == nil && n.Status.Phase == corev1.NamespaceTerminating {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if _, ok, err := c.accounts.GetStore().GetByKey(namespace + "/" + account); err != nil || ok {
		return reconcile.Result{}, err
	}
	_, err = c.client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: namespace},
	}, metav1.CreateOptions{})
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, fmt.Errorf("creating service account %q in %q: %w", account, namespace, err)
}
