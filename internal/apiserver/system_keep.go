package apiserver

import (
	"context"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
)

// mendDelay bounds how often the system's objects are looked at while somebody
// keeps changing them.
const mendDelay = 200 * time.Millisecond

// SetNodeIP tells the server that the node's address changed: the certificate
// is issued for it and the kubernetes Service leads to it.
func (s *Server) SetNodeIP(ip netip.Addr) error {
	s.mu.Lock()
	same := s.nodeAddr == ip
	s.nodeAddr = ip
	s.mu.Unlock()
	if same {
		return nil
	}
	if s.cert != nil {
		if err := s.cert.issue(servingNames(s.opts, ip)); err != nil {
			return err
		}
	}
	s.mend()
	return nil
}

func (s *Server) nodeIP() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodeAddr
}

// mend asks for a look at the system's objects.
func (s *Server) mend() {
	select {
	case s.mending <- struct{}{}:
	default:
	}
}

// keepSystem mends the system's objects whenever one of them changes.
func (s *Server) keepSystem(ctx context.Context) error {
	// What went after it was made at the start and before it was watched has no
	// event: the first look comes when all are watched.
	if !cache.WaitForCacheSync(ctx.Done(), s.watchSystem(ctx)...) {
		return nil
	}
	s.mend()
	for {
		select {
		case <-s.mending:
		case <-ctx.Done():
			return nil
		}
		if err := s.ensureSystem(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("mending the system's objects", "err", err)
			time.AfterFunc(mendDelay, s.mend)
		}
		select {
		case <-time.After(mendDelay):
		case <-ctx.Done():
			return nil
		}
	}
}

// watchSystem follows the namespaces and the three objects of the kubernetes
// Service. It returns what tells that it does.
func (s *Server) watchSystem(ctx context.Context) (synced []cache.InformerSynced) {
	changed := cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, _ any) { s.mend() },
		DeleteFunc: func(any) { s.mend() },
	}
	// The informer refuses handlers only when it has stopped, and then so does this server.
	_, _ = s.informers.Core().V1().Namespaces().Informer().AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: isSystemNamespace,
		Handler:    cache.ResourceEventHandlerFuncs{DeleteFunc: func(any) { s.mend() }},
	})
	core, discovery := s.client.CoreV1().RESTClient(), s.client.DiscoveryV1().RESTClient()
	for _, w := range []struct {
		client   cache.Getter
		resource string
	}{{core, "services"}, {core, "endpoints"}, {discovery, "endpointslices"}} {
		only := fields.OneTermEqualSelector("metadata.name", serviceName)
		source := cache.NewListWatchFromClient(w.client, w.resource, metav1.NamespaceDefault, only)
		_, informer := cache.NewInformerWithOptions(cache.InformerOptions{ListerWatcher: source, Handler: changed})
		go informer.RunWithContext(ctx)
		synced = append(synced, informer.HasSynced)
	}
	return synced
}

func isSystemNamespace(obj any) bool {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	m, ok := obj.(metav1.Object)
	return ok && slices.Contains(systemNamespaces(), m.GetName())
}
