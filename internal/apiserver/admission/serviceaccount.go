package admission

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	defaultAccount = "default"
	// accountWait is how long a pod waits for the account that the controller
	// makes in a new namespace: a manifest often holds both.
	accountWait = time.Second
	// enforceMountable is the annotation by which an account limits the secrets
	// that its pods may refer to.
	enforceMountable = "kubernetes.io/enforce-mountable-secrets"
)

// serviceAccount gives each pod an account, the account's token in a volume, and
// its pull secrets (kubernetes.io/docs: "Configure Service Accounts for Pods").
type serviceAccount struct {
	*admission.Handler
	client   kubernetes.Interface
	accounts corelisters.ServiceAccountLister
	added    *broadcast
	volume   func() string
}

func newServiceAccount(deps Deps) (admission.Interface, error) {
	accounts := deps.Informers.Core().V1().ServiceAccounts()
	s := &serviceAccount{
		Handler:  admission.NewHandler(admission.Create, admission.Update),
		client:   deps.Client,
		accounts: accounts.Lister(),
		added:    newBroadcast(),
		volume:   func() string { return names.SimpleNameGenerator.GenerateName(tokenVolumePrefix) },
	}
	_, err := accounts.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { s.added.send() }})
	return s, err
}

// Admit implements admission.MutationInterface.
func (s *serviceAccount) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok || a.GetOperation() != admission.Create {
		return nil
	}
	// A mirror pod stands for a static pod on a node: it gets nothing added.
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return s.Validate(ctx, a, o)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	account, err := s.account(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	if wantsToken(account, pod) {
		s.mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		for _, secret := range account.ImagePullSecrets {
			pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: secret.Name})
		}
	}
	return s.Validate(ctx, a, o)
}

// Validate implements admission.ValidationInterface.
func (s *serviceAccount) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := podOf(a)
	if !ok {
		return nil
	}
	if a.GetOperation() == admission.Update {
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return validateMirror(a, pod)
	}
	account, err := s.account(ctx, a.GetNamespace(), pod.Spec.ServiceAccountName)
	if err != nil {
		return admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), pod.Spec.ServiceAccountName, err))
	}
	if account.Annotations[enforceMountable] == "true" {
		return mountable(a, account, pod)
	}
	return nil
}

// account finds the account: in the informer, else in the store, else it waits
// a moment for a controller to make it.
func (s *serviceAccount) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	late := time.NewTimer(accountWait)
	defer late.Stop()
	for {
		added := s.added.next()
		if account, err := s.accounts.ServiceAccounts(namespace).Get(name); err == nil {
			return account, nil
		}
		account, err := s.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil || !apierrors.IsNotFound(err) || name != defaultAccount {
			return account, err
		}
		select {
		case <-added:
		case <-late.C:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// podOf returns the pod of a request for a pod itself (not for a subresource).
func podOf(a admission.Attributes) (*corev1.Pod, bool) {
	if a.GetResource().GroupResource() != corev1.Resource("pods") || a.GetSubresource() != "" {
		return nil, false
	}
	pod, ok := a.GetObject().(*corev1.Pod)
	return pod, ok
}
