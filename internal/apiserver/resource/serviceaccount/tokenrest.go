package serviceaccount

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

const (
	// minLifetime and maxLifetime bound what a client may ask for, in seconds.
	minLifetime = 10 * 60
	maxLifetime = 1 << 32
)

// TokenREST signs tokens: POST serviceaccounts/NAME/token.
type TokenREST struct {
	Accounts, Pods, Secrets, Nodes rest.Getter
	Issuer                         TokenIssuer
}

var _ rest.NamedCreater = (*TokenREST)(nil)
var _ rest.GroupVersionKindProvider = (*TokenREST)(nil)

// New implements rest.Storage.
func (*TokenREST) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy implements rest.Storage.
func (*TokenREST) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (*TokenREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

// Create implements rest.NamedCreater.
func (r *TokenREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	req, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %T", obj))
	}
	got, err := r.Accounts.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	account := got.(*corev1.ServiceAccount)
	if req.Name != "" && req.Name != name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.name: %v does not match service account name: %v", req.Name, name))
	}
	if ns := genericapirequest.NamespaceValue(ctx); req.Namespace != "" && req.Namespace != ns {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("metadata.namespace: %v does not match service account namespace: %v", req.Namespace, ns))
	}
	if errs := validateTokenRequest(req); len(errs) > 0 {
		return nil, apierrors.NewInvalid(authenticationv1.SchemeGroupVersion.WithKind("TokenRequest").GroupKind(), "", errs)
	}
	req.Name, req.Namespace = account.Name, account.Namespace
	req.CreationTimestamp = metav1.Now()
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	want := TokenRequest{
		ServiceAccount: account,
		Audiences:      req.Spec.Audiences,
		Lifetime:       time.Duration(*req.Spec.ExpirationSeconds) * time.Second,
	}
	if err := r.bind(ctx, req.Spec.BoundObjectRef, name, &want); err != nil {
		return nil, err
	}
	token, audiences, expires, err := r.Issuer.Issue(ctx, want)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("signing the token: %w", err))
	}
	out := req.DeepCopy()
	out.Spec.Audiences = audiences
	out.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.Time{Time: expires}}
	return out, nil
}

// bind looks up the object that the token is to die with.
func (r *TokenREST) bind(ctx context.Context, ref *authenticationv1.BoundObjectReference, account string, want *TokenRequest) error {
	if ref == nil {
		return nil
	}
	var uid types.UID
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	switch {
	case gvk.Group == "" && gvk.Kind == "Pod":
		obj, err := r.Pods.Get(ctx, ref.Name, &metav1.GetOptions{})
		if err != nil {
			return err
		}
		want.Pod = obj.(*corev1.Pod)
		uid = want.Pod.UID
		if want.Pod.Spec.ServiceAccountName != account {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account))
		}
		if node := want.Pod.Spec.NodeName; node != "" {
			if obj, err := r.Nodes.Get(ctx, node, &metav1.GetOptions{}); err == nil {
				want.Node = obj.(*corev1.Node)
			} else if !apierrors.IsNotFound(err) {
				return apierrors.NewInternalError(err)
			}
		}
	case gvk.Group == "" && gvk.Kind == "Secret":
		obj, err := r.Secrets.Get(ctx, ref.Name, &metav1.GetOptions{})
		if err != nil {
			return err
		}
		want.Secret = obj.(*corev1.Secret)
		uid = want.Secret.UID
	case gvk.Group == "" && gvk.Kind == "Node":
		obj, err := r.Nodes.Get(ctx, ref.Name, &metav1.GetOptions{})
		if err != nil {
			return err
		}
		want.Node = obj.(*corev1.Node)
		uid = want.Node.UID
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if ref.UID != "" && uid != ref.UID {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}

// DefaultTokenRequest sets what a request may leave out: an hour.
func DefaultTokenRequest(req *authenticationv1.TokenRequest) {
	if req.Spec.ExpirationSeconds == nil {
		hour := int64(60 * 60)
		req.Spec.ExpirationSeconds = &hour
	}
}

// validateTokenRequest agrees with upstream's ValidateTokenRequest.
func validateTokenRequest(req *authenticationv1.TokenRequest) field.ErrorList {
	path := field.NewPath("spec").Child("expirationSeconds")
	var errs field.ErrorList
	if *req.Spec.ExpirationSeconds < minLifetime {
		errs = append(errs, field.Invalid(path, *req.Spec.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
	}
	if *req.Spec.ExpirationSeconds > maxLifetime {
		errs = append(errs, field.Invalid(path, *req.Spec.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}
