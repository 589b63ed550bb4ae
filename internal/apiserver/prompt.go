package apiserver

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage"
	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
)

// promptStorage keeps consistent lists from waiting.
//
// A consistent list asks the store for its revision and then waits until the
// watch cache has seen it (KEP-2340). A cache of configmaps hears nothing of a
// write to a lease; it must be told that it is up to date, by a progress
// notification, and k8s.io/apiserver asks for one at most every 100 ms. So a
// list in a busy cluster would take 100 ms, and watch-lists (KEP-3157), by
// which informers start, as long. promptStorage asks at once, whenever the
// revision is asked for: with the store in the same process the answer is there
// before the cache begins to wait.
type promptStorage struct {
	storage.Interface
}

// GetCurrentResourceVersion implements storage.Interface.
func (s promptStorage) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	rv, err := s.Interface.GetCurrentResourceVersion(ctx)
	if err == nil {
		// Progress is announced on the stream of the watch, which is found by
		// the context's metadata: the cache's has none. Without an answer the
		// cache's own, slower, request follows.
		_ = s.Interface.RequestWatchProgress(context.Background())
	}
	return rv, err
}

// announceProgress tells k8s.io/apiserver that the store can announce progress.
// It decides that by version and by address, and an embedded store has none.
func announceProgress(ctx context.Context, client *clientv3.Client) {
	etcdfeature.DefaultFeatureSupportChecker.CheckClient(ctx, embedded{client}, storage.RequestWatchProgress)
}

// embedded gives the store's client an address to be known by.
type embedded struct {
	client *clientv3.Client
}

func (embedded) Endpoints() []string { return []string{"embedded"} }

func (e embedded) Status(ctx context.Context, _ string) (*clientv3.StatusResponse, error) {
	return e.client.Status(ctx, "")
}
