package kubelet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// tokens asks for the service account tokens that pods mount, and keeps each
// until it is due for renewal: at 80 % of its life, or after a day (KEP-1205).
type tokens struct {
	client kubernetes.Interface
	mu     sync.Mutex
	held   map[tokenKey]heldToken
}

type tokenKey struct {
	pod      types.UID
	audience string
	seconds  int64
}

type heldToken struct {
	token   string
	refresh time.Time
}

const tokenMaxAge = 24 * time.Hour

func newTokens(client kubernetes.Interface) *tokens {
	return &tokens{client: client, held: map[tokenKey]heldToken{}}
}

func (t *tokens) get(ctx context.Context, pod *v1.Pod, audience string, seconds int64) (string, time.Time, error) {
	key := tokenKey{pod.UID, audience, seconds}
	t.mu.Lock()
	held, ok := t.held[key]
	t.mu.Unlock()
	if ok && time.Now().Before(held.refresh) {
		return held.token, held.refresh, nil
	}
	request := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	got, err := t.client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("failed to fetch token: %w", err)
	}
	now := time.Now()
	fresh := heldToken{got.Status.Token, renewal(now, got.Status.ExpirationTimestamp.Time)}
	t.mu.Lock()
	t.held[key] = fresh
	t.mu.Unlock()
	return fresh.token, fresh.refresh, nil
}

// renewal is when a token is replaced. Some seconds of chance keep the pods of a
// node from asking all at once.
func renewal(now, expires time.Time) time.Time {
	life := expires.Sub(now) * 8 / 10
	return now.Add(min(life, tokenMaxAge) - rand.N(10*time.Second))
}

func (t *tokens) forget(pod types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.held {
		if key.pod == pod {
			delete(t.held, key)
		}
	}
}
