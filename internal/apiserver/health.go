package apiserver

import (
	"context"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"
)

// checkTimeout is what the store has to answer in.
const checkTimeout = 2 * time.Second

// check is the health check "etcd": a read that every member must agree to.
func (s *storages) check() healthz.HealthChecker {
	return healthz.NamedCheck("etcd", func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), checkTimeout)
		defer cancel()
		_, err := s.health.Get(ctx, keyPrefix+"/health")
		return err
	})
}
