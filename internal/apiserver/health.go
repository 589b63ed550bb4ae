package apiserver

import (
	"context"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"
)

// checkTimeout is what the store has to answer in.
const checkTimeout = 2 * time.Second

// filled is the check "watch-caches": a cache that has not read its kind yet
// sends clients away for a second.
func (s *storages) filled() healthz.HealthChecker {
	return healthz.NamedCheck("watch-caches", func(*http.Request) error {
		for _, c := range s.caches {
			if err := c.ReadinessCheck(); err != nil {
				return err
			}
		}
		return nil
	})
}

// check is the health check "etcd": a read that every member must agree to.
func (s *storages) check() healthz.HealthChecker {
	return healthz.NamedCheck("etcd", func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), checkTimeout)
		defer cancel()
		_, err := s.health.Get(ctx, keyPrefix+"/health")
		return err
	})
}
