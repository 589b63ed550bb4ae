package apiserver_test

import (
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"go.skiff.dev/skiff/internal/apiserver/apitest"
)

func whoAmI(t *testing.T, client kubernetes.Interface) (authenticationv1.UserInfo, error) {
	t.Helper()
	me, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return me.Status.UserInfo, nil
}

func TestBoundToken(t *testing.T) {
	s := apitest.Start(t)
	client := s.Client()
	pod := newPod("p")
	pod, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}
	// The second one is not in the memory of accepted tokens.
	token, unused := requestToken(t, client, spec), requestToken(t, client, spec)
	holder := bearer(s, token)
	me, err := whoAmI(t, holder)
	if err != nil {
		t.Fatal(err)
	}
	if me.Username != "system:serviceaccount:default:default" ||
		strings.Join(me.Groups, ",") != "system:serviceaccounts,system:serviceaccounts:default,system:authenticated" ||
		me.Extra["authentication.kubernetes.io/pod-name"][0] != "p" {
		t.Errorf("got %+v", me)
	}
	_, err = holder.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) {
		t.Errorf("a service account may list pods: %v", err)
	}
	if _, err := holder.Discovery().ServerVersion(); err != nil {
		t.Errorf("discovery with a token: %v", err)
	}

	if err := client.CoreV1().Pods("default").Delete(t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
		t.Fatal(err)
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: unused, Audiences: []string{"https://kubernetes.default.svc.cluster.local"}}}
	review, err = client.AuthenticationV1().TokenReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if review.Status.Authenticated {
		t.Error("the token of a deleted pod is accepted")
	}
}

func TestTokenAudience(t *testing.T) {
	s := apitest.Start(t)
	token := requestToken(t, s.Client(), authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	if _, err := whoAmI(t, bearer(s, token)); !apierrors.IsUnauthorized(err) {
		t.Errorf("a token for somebody else is accepted: %v", err)
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{"vault", "other"}}}
	review, err := s.Client().AuthenticationV1().TokenReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !review.Status.Authenticated || len(review.Status.Audiences) != 1 || review.Status.Audiences[0] != "vault" {
		t.Errorf("got %+v", review.Status)
	}
	// As the API server itself would know the holder.
	if groups := strings.Join(review.Status.User.Groups, ","); groups != "system:serviceaccounts,system:serviceaccounts:default,system:authenticated" {
		t.Errorf("the review names the groups %s", groups)
	}
}

func TestForgedToken(t *testing.T) {
	s := apitest.Start(t)
	token := requestToken(t, s.Client(), authenticationv1.TokenRequestSpec{})
	parts := strings.Split(token, ".")
	for name, forged := range map[string]string{
		"no signature":      parts[0] + "." + parts[1] + ".",
		"another signature": parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86),
		"algorithm none":    "eyJhbGciOiJub25lIn0." + parts[1] + ".",
	} {
		if _, err := whoAmI(t, bearer(s, forged)); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func requestToken(t *testing.T, client kubernetes.Interface, spec authenticationv1.TokenRequestSpec) string {
	t.Helper()
	req, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return req.Status.Token
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "skiff.dev/hello:1"}}},
	}
}
