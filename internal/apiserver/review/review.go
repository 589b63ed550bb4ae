// Package review serves the kinds that are questions: who am I, who does this
// token speak for, may this user do that. They are answered and not stored.
package review

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// Deps is what the answers come from.
type Deps struct {
	Scheme *runtime.Scheme
	Codecs serializer.CodecFactory
	// Tokens verifies bearer tokens; Audiences are meant when none is given.
	Tokens    authenticator.Token
	Audiences authenticator.Audiences
	// Rules decides, Resolver lists.
	Rules    authorizer.Authorizer
	Resolver authorizer.RuleResolver
}

// question is one kind.
type question struct {
	kind       string
	resource   string
	namespaced bool
	empty      func() runtime.Object
	answer     func(context.Context, runtime.Object) error
}

// questions are the kinds of the two groups.
func questions(d Deps) map[schema.GroupVersion][]question {
	return map[schema.GroupVersion][]question{
		authenticationv1.SchemeGroupVersion: {
			{"TokenReview", "tokenreviews", false, func() runtime.Object { return &authenticationv1.TokenReview{} }, d.token},
			{"SelfSubjectReview", "selfsubjectreviews", false, func() runtime.Object { return &authenticationv1.SelfSubjectReview{} }, self},
		},
		authorizationv1.SchemeGroupVersion: {
			{"SubjectAccessReview", "subjectaccessreviews", false, func() runtime.Object { return &authorizationv1.SubjectAccessReview{} }, d.subjectAccess},
			{"SelfSubjectAccessReview", "selfsubjectaccessreviews", false, func() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }, d.selfAccess},
			{"LocalSubjectAccessReview", "localsubjectaccessreviews", true, func() runtime.Object { return &authorizationv1.LocalSubjectAccessReview{} }, d.localAccess},
			{"SelfSubjectRulesReview", "selfsubjectrulesreviews", false, func() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} }, d.selfRules},
		},
	}
}

// Groups returns the two API groups, ready to install.
func Groups(d Deps) []*genericapiserver.APIGroupInfo {
	all := questions(d)
	var groups []*genericapiserver.APIGroupInfo
	for _, gv := range []schema.GroupVersion{authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion} {
		storages := map[string]rest.Storage{}
		for _, q := range all[gv] {
			storages[q.resource] = &storage{gv: gv, question: q}
		}
		info := genericapiserver.NewDefaultAPIGroupInfo(gv.Group, d.Scheme, runtime.NewParameterCodec(d.Scheme), d.Codecs)
		info.OptionsExternalVersion = &schema.GroupVersion{Version: "v1"}
		info.MetaGroupVersion = &metav1.SchemeGroupVersion
		info.VersionedResourcesStorageMap[gv.Version] = storages
		groups = append(groups, &info)
	}
	return groups
}

// storage answers POST and knows nothing else.
type storage struct {
	gv schema.GroupVersion
	question
}

var (
	_ rest.Creater                  = (*storage)(nil)
	_ rest.Scoper                   = (*storage)(nil)
	_ rest.SingularNameProvider     = (*storage)(nil)
	_ rest.GroupVersionKindProvider = (*storage)(nil)
)

// New implements rest.Storage.
func (s *storage) New() runtime.Object { return s.empty() }

// Destroy implements rest.Storage.
func (s *storage) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (s *storage) NamespaceScoped() bool { return s.namespaced }

// GetSingularName implements rest.SingularNameProvider.
func (s *storage) GetSingularName() string { return s.resource[:len(s.resource)-1] }

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (s *storage) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return s.gv.WithKind(s.kind)
}

// Create implements rest.Creater.
func (s *storage) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if fmt.Sprintf("%T", obj) != fmt.Sprintf("%T", s.empty()) {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a %s: %#v", s.kind, obj))
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := s.answer(ctx, obj); err != nil {
		return nil, err
	}
	return obj, nil
}
