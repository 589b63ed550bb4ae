// Package authz decides what a request may do. There is no open door: the
// administrators' group and skiff's own parts may do everything; whoever else
// has a name may read health, version, discovery and schemas and ask about
// himself; strangers get health and version.
package authz

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"go.skiff.dev/skiff/internal/apiserver/authn"
)

// parts are the users that skiff's own parts act as. Certificates and
// in-process identities are the only ways to carry such a name: tokens always
// name a system:serviceaccount.
func parts() []string {
	return []string{
		user.APIServerUser,
		user.KubeControllerManager,
		user.KubeScheduler,
		user.KubeProxy,
		"system:skiff-dns",
		"system:skiff", // the daemon itself and the informers that all parts share
	}
}

// Authorizer holds the rules.
type Authorizer struct {
	parts []string
}

// New returns the authoriser.
func New() *Authorizer { return &Authorizer{parts: parts()} }

// Authorize implements authorizer.Authorizer. Without an opinion the request is
// refused, in upstream's words.
func (a *Authorizer) Authorize(_ context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	who := attrs.GetUser()
	switch {
	case who == nil:
		return authorizer.DecisionNoOpinion, "", nil
	case a.trusted(who):
		return authorizer.DecisionAllow, "", nil
	case allowedToAnyone(attrs):
		return authorizer.DecisionAllow, "", nil
	case slices.Contains(who.GetGroups(), user.AllAuthenticated) && allowedToKnown(attrs):
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// trusted reports whether the user is an administrator or a part of skiff.
func (a *Authorizer) trusted(who user.Info) bool {
	groups := who.GetGroups()
	if slices.Contains(groups, user.SystemPrivilegedGroup) || slices.Contains(a.parts, who.GetName()) {
		return true
	}
	return slices.Contains(groups, user.NodesGroup) && strings.HasPrefix(who.GetName(), "system:node:")
}

func allowedToAnyone(attrs authorizer.Attributes) bool {
	return !attrs.IsResourceRequest() && attrs.GetVerb() == "get" && authn.Public(attrs.GetPath())
}

// selfReviews are the kinds by which a user asks about himself
// (upstream's role system:basic-user).
func selfReviews() map[string][]string {
	return map[string][]string{
		"authorization.k8s.io":  {"selfsubjectaccessreviews", "selfsubjectrulesreviews"},
		"authentication.k8s.io": {"selfsubjectreviews"},
	}
}

// discovery are the path prefixes of upstream's role system:discovery.
func discovery() []string {
	return []string{"/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz", "/.well-known/openid-configuration", "/openid/v1/jwks"}
}

func allowedToKnown(attrs authorizer.Attributes) bool {
	if attrs.IsResourceRequest() {
		return attrs.GetVerb() == "create" && slices.Contains(selfReviews()[attrs.GetAPIGroup()], attrs.GetResource())
	}
	if attrs.GetVerb() != "get" {
		return false
	}
	for _, p := range discovery() {
		if attrs.GetPath() == p || strings.HasPrefix(attrs.GetPath(), p+"/") {
			return true
		}
	}
	return false
}

// RulesFor implements authorizer.RuleResolver: the same rules as a list, for
// `kubectl auth can-i --list`.
func (a *Authorizer) RulesFor(_ context.Context, who user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if a.trusted(who) {
		return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}},
			[]authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}}, false, nil
	}
	if !slices.Contains(who.GetGroups(), user.AllAuthenticated) {
		return nil, []authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: []string{"get"},
			NonResourceURLs: []string{"/healthz", "/livez", "/readyz", "/version"}}}, false, nil
	}
	var resources []authorizer.ResourceRuleInfo
	for group, names := range selfReviews() {
		resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: []string{"create"}, APIGroups: []string{group}, Resources: names})
	}
	var urls []string
	for _, p := range discovery() {
		urls = append(urls, p, p+"/*")
	}
	return resources, []authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: []string{"get"}, NonResourceURLs: urls}}, false, nil
}
