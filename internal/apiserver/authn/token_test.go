package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"go.skiff.dev/skiff/internal/apiserver/resource"
)

const testIssuer = "https://kubernetes.default.svc.cluster.local"

// objects is the cluster of these tests.
type objects struct {
	account *corev1.ServiceAccount
	pod     *corev1.Pod
}

func (o *objects) ServiceAccount(_ context.Context, _, name string) (metav1.Object, error) {
	if o.account == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("serviceaccounts"), name)
	}
	return o.account, nil
}

func (o *objects) Pod(_ context.Context, _, name string) (metav1.Object, error) {
	if o.pod == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	return o.pod, nil
}

func (o *objects) Secret(_ context.Context, _, name string) (metav1.Object, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("secrets"), name)
}

func (o *objects) Node(_ context.Context, name string) (metav1.Object, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestVerifier(t *testing.T) {
	key, foreign := newKey(t), newKey(t)
	tests := []struct {
		name    string
		key     crypto.Signer
		issuer  string
		request func(*resource.TokenRequest)
		later   time.Duration
		change  func(*objects)
		ok      bool
		err     string
	}{
		{name: "good", ok: true},
		{name: "just expired, within the leeway", later: time.Hour + 30*time.Second, ok: true},
		{name: "expired", later: time.Hour + 2*time.Minute, err: "has expired"},
		{name: "foreign key", key: foreign, err: "the signing key is not known"},
		{name: "another issuer", issuer: "https://elsewhere"},
		{name: "another audience", request: func(r *resource.TokenRequest) { r.Audiences = []string{"vault"} }, err: "invalid for the target audiences"},
		{name: "account gone", change: func(o *objects) { o.account = nil }, err: `service account "a" does not exist`},
		{name: "account made anew", change: func(o *objects) { o.account.UID = "2" }, err: `service account "a" is a new one`},
		{name: "pod gone", change: func(o *objects) { o.pod = nil }, err: `pod "p" does not exist`},
		{name: "pod ending", change: func(o *objects) { o.pod.DeletionTimestamp = &metav1.Time{Time: time.Now()} }, ok: true},
		{name: "pod ended long ago", later: 2 * time.Minute, change: func(o *objects) { o.pod.DeletionTimestamp = &metav1.Time{Time: time.Now()} }, err: `pod "p" has been deleted`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				have := &objects{
					account: &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a", UID: "1"}},
					pod:     &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "7"}},
				}
				signer, url := crypto.Signer(key), testIssuer
				if test.key != nil {
					signer = test.key
				}
				if test.issuer != "" {
					url = test.issuer
				}
				issuer, err := NewIssuer(url, signer)
				if err != nil {
					t.Fatal(err)
				}
				req := resource.TokenRequest{ServiceAccount: have.account, Pod: have.pod, Lifetime: time.Hour}
				if test.request != nil {
					test.request(&req)
				}
				token, _, _, err := issuer.Issue(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				verifier, err := NewVerifier(testIssuer, []string{testIssuer}, []crypto.PublicKey{key.Public()}, have)
				if err != nil {
					t.Fatal(err)
				}
				if test.change != nil {
					test.change(have)
				}
				time.Sleep(test.later)
				resp, ok, err := verifier.AuthenticateToken(t.Context(), token)
				if ok != test.ok || test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
					t.Fatalf("got %v, %v", ok, err)
				}
				if ok && resp.User.GetName() != "system:serviceaccount:ns:a" {
					t.Errorf("got %v", resp.User)
				}
			})
		})
	}
}

// FuzzAuthenticateToken feeds the verifier what strangers may send.
func FuzzAuthenticateToken(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	verifier, err := NewVerifier(testIssuer, authenticator.Audiences{testIssuer}, []crypto.PublicKey{key.Public()}, &objects{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCJ9.")
	f.Fuzz(func(t *testing.T, token string) {
		if _, ok, _ := verifier.AuthenticateToken(t.Context(), token); ok {
			t.Errorf("%q is accepted", token)
		}
	})
}
