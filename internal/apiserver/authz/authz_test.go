package authz

import (
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func TestAuthorize(t *testing.T) {
	known := []string{user.AllAuthenticated}
	pods := authorizer.AttributesRecord{Verb: "list", Resource: "pods", ResourceRequest: true}
	path := func(verb, p string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{Verb: verb, Path: p}
	}
	tests := []struct {
		name   string
		user   string
		groups []string
		attrs  authorizer.AttributesRecord
		allow  bool
	}{
		{"administrator", "x", []string{user.SystemPrivilegedGroup}, pods, true},
		{"scheduler", "system:kube-scheduler", known, pods, true},
		{"node", "system:node:a", []string{user.NodesGroup}, pods, true},
		{"group of nodes without the name", "x", []string{user.NodesGroup}, pods, false},
		{"name of a node without the group", "system:node:a", known, pods, false},
		{"account", "system:serviceaccount:default:default", known, pods, false},
		{"account named as a part", "system:serviceaccount:kube-system:kube-scheduler", known, pods, false},
		{"discovery", "bob", known, path("get", "/apis/apps/v1"), true},
		{"discovery by a stranger", user.Anonymous, []string{user.AllUnauthenticated}, path("get", "/apis"), false},
		{"a path that only begins like one", "bob", known, path("get", "/apisnot"), false},
		{"metrics", "bob", known, path("get", "/metrics"), false},
		{"health by a stranger", user.Anonymous, []string{user.AllUnauthenticated}, path("get", "/readyz"), true},
		{"posting to health", user.Anonymous, []string{user.AllUnauthenticated}, path("post", "/readyz"), false},
		{"asking about oneself", "bob", known, authorizer.AttributesRecord{Verb: "create", APIGroup: "authorization.k8s.io", Resource: "selfsubjectaccessreviews", ResourceRequest: true}, true},
		{"asking about others", "bob", known, authorizer.AttributesRecord{Verb: "create", APIGroup: "authorization.k8s.io", Resource: "subjectaccessreviews", ResourceRequest: true}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.attrs.User = &user.DefaultInfo{Name: test.user, Groups: test.groups}
			decision, _, err := New().Authorize(t.Context(), test.attrs)
			if err != nil || (decision == authorizer.DecisionAllow) != test.allow {
				t.Errorf("got %v, %v", decision, err)
			}
		})
	}
	if decision, _, _ := New().Authorize(t.Context(), pods); decision == authorizer.DecisionAllow {
		t.Error("nobody is allowed")
	}
}
