// Package authn tells who a request comes from: a part of this process, the
// holder of a client certificate, the holder of a service-account token, or,
// for the health and version pages only, anybody.
package authn

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Options says whom to believe.
type Options struct {
	// ClientCA returns the certificates that sign clients.
	ClientCA func() *x509.CertPool
	// Tokens verifies bearer tokens; nil accepts none.
	Tokens authenticator.Token
}

// New returns the authenticators in the order in which they are asked.
func New(opts Options) authenticator.Request {
	known := []authenticator.Request{
		authenticator.RequestFunc(local),
		x509request.NewDynamic(opts.verify, x509request.CommonNameUserConversion),
	}
	if opts.Tokens != nil {
		known = append(known, bearertoken.New(opts.Tokens), websocket.NewProtocolAuthenticator(opts.Tokens))
	}
	return union.NewFailOnError(
		group.NewAuthenticatedGroupAdder(union.NewFailOnError(known...)),
		authenticator.RequestFunc(anonymous),
	)
}

// Reviewed verifies tokens for TokenReview: it tells of the holder what a request
// of his would be known by.
func Reviewed(tokens authenticator.Token) authenticator.Token {
	return group.NewTokenGroupAdder(tokens, []string{user.AllAuthenticated})
}

func (o Options) verify() (x509.VerifyOptions, bool) {
	return x509.VerifyOptions{Roots: o.ClientCA(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, true
}

// localKey marks the context of a request made inside the process. A request
// that comes over a socket gets its context from net/http and can't carry it.
type localKey struct{}

// WithLocalIdentity attaches the identity of one of skiff's own parts. Only the
// in-process transport calls it.
func WithLocalIdentity(ctx context.Context, who user.Info) context.Context {
	return context.WithValue(ctx, localKey{}, who)
}

func local(req *http.Request) (*authenticator.Response, bool, error) {
	who, ok := req.Context().Value(localKey{}).(user.Info)
	if !ok {
		return nil, false, nil
	}
	audiences, _ := authenticator.AudiencesFrom(req.Context())
	return &authenticator.Response{User: who, Audiences: audiences}, true, nil
}

// anonymous lets anybody ask for health and version, as load balancers and
// installers do; all else needs a name.
func anonymous(req *http.Request) (*authenticator.Response, bool, error) {
	if !Public(req.URL.Path) {
		return nil, false, nil
	}
	audiences, _ := authenticator.AudiencesFrom(req.Context())
	return &authenticator.Response{
		User:      &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}},
		Audiences: audiences,
	}, true, nil
}

// Public reports whether anybody may read the path.
func Public(path string) bool {
	switch path {
	case "/healthz", "/livez", "/readyz", "/version", "/version/":
		return true
	}
	for _, p := range []string{"/healthz/", "/livez/", "/readyz/"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}
