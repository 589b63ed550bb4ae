package authn

import (
	"context"
	"crypto"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	"go.skiff.dev/skiff/internal/apiserver/resource"
)

// Issuer signs tokens of service accounts.
type Issuer struct {
	url string
	key crypto.Signer
	kid string
}

// NewIssuer returns an issuer of the given URL ("iss") that signs with key, an
// ECDSA P-256 key.
func NewIssuer(url string, key crypto.Signer) (*Issuer, error) {
	kid, err := keyID(key.Public())
	if err != nil {
		return nil, err
	}
	return &Issuer{url: url, key: key, kid: kid}, nil
}

// Issue implements resource.TokenIssuer.
func (i *Issuer) Issue(_ context.Context, req resource.TokenRequest) (string, []string, time.Time, error) {
	now := time.Now()
	expires := now.Add(req.Lifetime)
	audiences := req.Audiences
	if len(audiences) == 0 {
		audiences = []string{i.url}
	}
	account := req.ServiceAccount
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    i.url,
			Subject:   serviceaccount.MakeUsername(account.Namespace, account.Name),
			Audience:  audiences,
			ExpiresAt: jwt.NewNumericDate(expires),
			NotBefore: jwt.NewNumericDate(now),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        uuid.NewString(),
		},
		Kubernetes: private{Namespace: account.Namespace, ServiceAccount: refOf(account)},
	}
	if req.Pod != nil {
		c.Kubernetes.Pod = new(refOf(req.Pod))
	}
	if req.Secret != nil {
		c.Kubernetes.Secret = new(refOf(req.Secret))
	}
	if req.Node != nil {
		c.Kubernetes.Node = new(refOf(req.Node))
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, c)
	token.Header["kid"] = i.kid
	signed, err := token.SignedString(i.key)
	if err != nil {
		return "", nil, time.Time{}, fmt.Errorf("signing a token for %s: %w", c.Subject, err)
	}
	return signed, audiences, expires, nil
}

func refOf(obj metav1.Object) ref { return ref{Name: obj.GetName(), UID: string(obj.GetUID())} }
