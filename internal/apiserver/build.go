package apiserver

import (
	"fmt"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"net"
	"net/netip"

	"skiff.dev/skiff/internal/apiserver/resource"
)

// build assembles the generic server with all groups and returns it with its
// two handler chains.
func (s *Server) build(listener net.Listener) (*genericapiserver.GenericAPIServer, built, error) {
	cfg, err := s.config(listener, nil)
	if err != nil {
		return nil, built{}, err
	}
	stores, err := newStorages(s.scheme, s.codecs, s.opts.Store, cfg.StorageObjectCountTracker)
	if err != nil {
		return nil, built{}, err
	}
	cfg.RESTOptionsGetter = stores
	cfg.AddHealthChecks(stores.check())
	server, err := cfg.Complete(nil).New("skiff", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, built{}, fmt.Errorf("assembling the API server: %w", err)
	}
	server.ShutdownTimeout = drainTime
	server.RegisterDestroyFunc(stores.stop)
	if err := s.install(server, stores); err != nil {
		return nil, built{}, err
	}
	// Requests of skiff's own parts run through the same chain without the
	// limit on parallel requests: our parts never wait for strangers.
	inner := *cfg
	inner.MaxRequestsInFlight, inner.MaxMutatingRequestsInFlight = 0, 0
	inside := genericapiserver.DefaultBuildHandlerChain(server.Handler.Director, &inner)
	return server, built{inside: inside, outside: server.Handler}, nil
}

// install adds the kinds.
func (s *Server) install(server *genericapiserver.GenericAPIServer, stores *storages) error {
	groups, err := resource.Groups(resource.Deps{
		Scheme:            s.scheme,
		Codecs:            s.codecs,
		RESTOptionsGetter: stores,
		ServiceCIDRs:      []netip.Prefix{s.opts.ServiceCIDR},
		NodePorts:         resource.PortRange{First: int32(s.opts.NodePorts.First), Last: int32(s.opts.NodePorts.Last)},
		NodeConn:          &nodeConn{authority: s.opts.Authority},
	})
	if err != nil {
		return fmt.Errorf("preparing the kinds: %w", err)
	}
	for _, g := range groups {
		if g.PrioritizedVersions[0].Group == "" {
			err = server.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, g)
		} else {
			err = server.InstallAPIGroup(g)
		}
		if err != nil {
			return fmt.Errorf("installing the group %q: %w", g.PrioritizedVersions[0], err)
		}
	}
	return nil
}
