package authn

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
)

const (
	// leeway forgives clocks that differ a little.
	leeway = time.Minute
	// graceDeleted is how long an account, or what its token is bound to, may
	// be on its way out before the token ends: upstream's 60 seconds let a
	// terminating pod finish its work.
	graceDeleted = time.Minute
	// remember is how long an accepted token is not looked at again. Upstream
	// takes 10 seconds; here a look costs no trip to another machine.
	remember = 2 * time.Second
)

// Objects looks up what tokens refer to. A missing object is a NotFound error.
type Objects interface {
	ServiceAccount(ctx context.Context, namespace, name string) (metav1.Object, error)
	Pod(ctx context.Context, namespace, name string) (metav1.Object, error)
	Secret(ctx context.Context, namespace, name string) (metav1.Object, error)
	Node(ctx context.Context, name string) (metav1.Object, error)
}

// Verifier accepts the tokens of an Issuer as long as what they are bound to exists.
type Verifier struct {
	url       string
	audiences authenticator.Audiences
	keys      map[string]crypto.PublicKey
	objects   Objects
	parser    *jwt.Parser
}

// NewVerifier returns a verifier of tokens that the issuer of the given URL
// signed with one of the keys, for one of the audiences.
func NewVerifier(url string, audiences []string, keys []crypto.PublicKey, objects Objects) (*Verifier, error) {
	v := &Verifier{
		url: url, audiences: audiences, keys: map[string]crypto.PublicKey{}, objects: objects,
		parser: jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}), jwt.WithIssuer(url),
			jwt.WithExpirationRequired(), jwt.WithLeeway(leeway)),
	}
	for _, k := range keys {
		kid, err := keyID(k)
		if err != nil {
			return nil, err
		}
		v.keys[kid] = k
	}
	return v, nil
}

// Cached remembers accepted tokens for a few seconds.
func Cached(v authenticator.Token) authenticator.Token { return cache.New(v, false, remember, 0) }

// AuthenticateToken implements authenticator.Token.
func (v *Verifier) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !v.ours(token) {
		return nil, false, nil
	}
	var c claims
	if _, err := v.parser.ParseWithClaims(token, &c, v.key); err != nil {
		return nil, false, describe(err)
	}
	wanted, ok := authenticator.AudiencesFrom(ctx)
	if !ok {
		wanted = v.audiences
	}
	matched := wanted.Intersect(authenticator.Audiences(c.Audience))
	if len(matched) == 0 {
		return nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", c.Audience, wanted)
	}
	if err := v.bound(ctx, &c); err != nil {
		return nil, false, err
	}
	return &authenticator.Response{User: c.user(), Audiences: matched}, true, nil
}

// ours reports whether the token names our issuer, without believing it.
func (v *Verifier) ours(token string) bool {
	var c jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(token, &c)
	return err == nil && c.Issuer == v.url
}

func (v *Verifier) key(token *jwt.Token) (any, error) {
	kid, _ := token.Header["kid"].(string)
	key, ok := v.keys[kid]
	if !ok {
		return nil, errors.New("the signing key is not known")
	}
	return key, nil
}

// describe says in upstream's words what holders of tokens look for.
func describe(err error) error {
	if errors.Is(err, jwt.ErrTokenExpired) {
		return errors.New("service account token has expired")
	}
	return fmt.Errorf("verifying a service account token: %w", err)
}

// bound checks that the account and whatever else the token is bound to are
// still the objects they were.
func (v *Verifier) bound(ctx context.Context, c *claims) error {
	k := c.Kubernetes
	if c.Subject != serviceaccount.MakeUsername(k.Namespace, k.ServiceAccount.Name) {
		return errors.New("service account token has a subject that is not its account")
	}
	checks := []struct {
		kind string
		ref  *ref
		get  func() (metav1.Object, error)
	}{
		{"service account", &k.ServiceAccount, func() (metav1.Object, error) {
			return v.objects.ServiceAccount(ctx, k.Namespace, k.ServiceAccount.Name)
		}},
		{"secret", k.Secret, func() (metav1.Object, error) { return v.objects.Secret(ctx, k.Namespace, k.Secret.Name) }},
		{"pod", k.Pod, func() (metav1.Object, error) { return v.objects.Pod(ctx, k.Namespace, k.Pod.Name) }},
		// With a pod the node is only information: the pod's end is the token's.
		{"node", nodeBinding(k), func() (metav1.Object, error) { return v.objects.Node(ctx, k.Node.Name) }},
	}
	for _, check := range checks {
		if check.ref == nil {
			continue
		}
		obj, err := check.get()
		if err := same(check.kind, *check.ref, obj, err); err != nil {
			return err
		}
	}
	return nil
}

func nodeBinding(k private) *ref {
	if k.Pod != nil {
		return nil
	}
	return k.Node
}

func same(kind string, want ref, obj metav1.Object, err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("service account token has been invalidated: %s %q does not exist", kind, want.Name)
	case err != nil:
		return fmt.Errorf("looking up %s %q of a service account token: %w", kind, want.Name, err)
	case string(obj.GetUID()) != want.UID:
		return fmt.Errorf("service account token has been invalidated: %s %q is a new one (UID %s, not %s)", kind, want.Name, obj.GetUID(), want.UID)
	}
	if gone := obj.GetDeletionTimestamp(); gone != nil && time.Since(gone.Time) > graceDeleted {
		return fmt.Errorf("service account token has been invalidated: %s %q has been deleted", kind, want.Name)
	}
	return nil
}

// user is who the token speaks for.
func (c *claims) user() user.Info {
	k := c.Kubernetes
	info := &user.DefaultInfo{
		Name:   c.Subject,
		UID:    k.ServiceAccount.UID,
		Groups: serviceaccount.MakeGroupNames(k.Namespace),
		Extra:  map[string][]string{},
	}
	if c.ID != "" {
		info.Extra[user.CredentialIDKey] = []string{"JTI=" + c.ID}
	}
	if k.Pod != nil {
		info.Extra[serviceaccount.PodNameKey] = []string{k.Pod.Name}
		info.Extra[serviceaccount.PodUIDKey] = []string{k.Pod.UID}
	}
	if k.Node != nil {
		info.Extra[serviceaccount.NodeNameKey] = []string{k.Node.Name}
		info.Extra[serviceaccount.NodeUIDKey] = []string{k.Node.UID}
	}
	return info
}
