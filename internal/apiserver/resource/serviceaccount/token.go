package serviceaccount

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TokenRequest is what a token is to say.
type TokenRequest struct {
	// ServiceAccount is whose token it is.
	ServiceAccount *corev1.ServiceAccount
	// Pod, Secret or Node the token is bound to, by name and UID; at most one
	// of Pod, Secret and Node is the bound object, and with a Pod the Node is
	// the one it runs on (may be nil).
	Pod    *corev1.Pod
	Secret *corev1.Secret
	Node   *corev1.Node
	// Audiences the token is for; empty means the issuer's own.
	Audiences []string
	// Lifetime of the token.
	Lifetime time.Duration
}

// TokenIssuer signs tokens of service accounts.
type TokenIssuer interface {
	// Issue returns a signed token, the audiences it is for and when it expires.
	Issue(ctx context.Context, req TokenRequest) (token string, audiences []string, expires time.Time, err error)
}
