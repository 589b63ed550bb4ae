package review

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// subjectAccess answers SubjectAccessReview: may that user do this?
func (d Deps) subjectAccess(ctx context.Context, obj runtime.Object) error {
	review := obj.(*authorizationv1.SubjectAccessReview)
	if err := validate("SubjectAccessReview", review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes, &review.Spec); err != nil {
		return err
	}
	review.Status = d.decide(ctx, subject(review.Spec), review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	return nil
}

// localAccess answers LocalSubjectAccessReview: the same within a namespace.
func (d Deps) localAccess(ctx context.Context, obj runtime.Object) error {
	review := obj.(*authorizationv1.LocalSubjectAccessReview)
	if err := validate("LocalSubjectAccessReview", review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes, &review.Spec); err != nil {
		return err
	}
	namespace := genericapirequest.NamespaceValue(ctx)
	if attrs := review.Spec.ResourceAttributes; attrs == nil || attrs.Namespace != namespace {
		return apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
	}
	review.Status = d.decide(ctx, subject(review.Spec), review.Spec.ResourceAttributes, nil)
	return nil
}

// selfAccess answers SelfSubjectAccessReview: may I do this?
func (d Deps) selfAccess(ctx context.Context, obj runtime.Object) error {
	review := obj.(*authorizationv1.SelfSubjectAccessReview)
	if err := validate("SelfSubjectAccessReview", review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes, nil); err != nil {
		return err
	}
	who, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	review.Status = d.decide(ctx, who, review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes)
	return nil
}

// selfRules answers SelfSubjectRulesReview: what may I do in this namespace?
func (d Deps) selfRules(ctx context.Context, obj runtime.Object) error {
	review := obj.(*authorizationv1.SelfSubjectRulesReview)
	who, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user present on request")
	}
	if review.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	resources, urls, incomplete, err := d.Resolver.RulesFor(ctx, who, review.Spec.Namespace)
	status := authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}, Incomplete: incomplete,
	}
	for _, r := range resources {
		status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: r.GetVerbs(), APIGroups: r.GetAPIGroups(), Resources: r.GetResources(), ResourceNames: r.GetResourceNames(),
		})
	}
	for _, u := range urls {
		status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: u.GetVerbs(), NonResourceURLs: u.GetNonResourceURLs()})
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	review.Status = status
	return nil
}

// validate: one of the two sets of attributes, and somebody to ask about.
func validate(kind string, resource *authorizationv1.ResourceAttributes, other *authorizationv1.NonResourceAttributes, spec *authorizationv1.SubjectAccessReviewSpec) error {
	path := field.NewPath("spec")
	var errs field.ErrorList
	if resource != nil && other != nil {
		errs = append(errs, field.Invalid(path.Child("nonResourceAttributes"), other, `cannot be specified in combination with resourceAttributes`))
	}
	if resource == nil && other == nil {
		errs = append(errs, field.Invalid(path.Child("resourceAttributes"), resource, `exactly one of nonResourceAttributes or resourceAttributes must be specified`))
	}
	if spec != nil && spec.User == "" && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(path.Child("user"), spec.User, `at least one of user or group must be specified`))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind(kind).GroupKind(), "", errs)
	}
	return nil
}

func subject(spec authorizationv1.SubjectAccessReviewSpec) user.Info {
	who := &user.DefaultInfo{Name: spec.User, UID: spec.UID, Groups: spec.Groups}
	for k, v := range spec.Extra {
		if who.Extra == nil {
			who.Extra = map[string][]string{}
		}
		who.Extra[k] = v
	}
	return who
}

func (d Deps) decide(ctx context.Context, who user.Info, resource *authorizationv1.ResourceAttributes, other *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	attrs := authorizer.AttributesRecord{User: who}
	if resource != nil {
		attrs.ResourceRequest = true
		attrs.Verb, attrs.Namespace, attrs.Name = resource.Verb, resource.Namespace, resource.Name
		attrs.APIGroup, attrs.APIVersion = resource.Group, resource.Version
		attrs.Resource, attrs.Subresource = resource.Resource, resource.Subresource
	} else {
		attrs.Verb, attrs.Path = other.Verb, other.Path
	}
	decision, reason, err := d.Rules.Authorize(ctx, attrs)
	status := authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow,
		Denied:  decision == authorizer.DecisionDeny,
		Reason:  reason,
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status
}
