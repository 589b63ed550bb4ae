package apiserver

import (
	"fmt"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"net"
	"net/netip"

	"go.skiff.dev/skiff/internal/apiserver/admission"
	"go.skiff.dev/skiff/internal/apiserver/authn"
	"go.skiff.dev/skiff/internal/apiserver/authz"
	"go.skiff.dev/skiff/internal/apiserver/resource"
	"go.skiff.dev/skiff/internal/apiserver/review"
)

// policy is who is believed and what he may do.
type policy struct {
	url    string
	issuer *authn.Issuer
	tokens authenticator.Token
	rules  *authz.Authorizer
}

func (s *Server) policy() (*policy, error) {
	p := &policy{url: issuerURL(s.opts.ClusterDomain), rules: authz.New()}
	var err error
	if p.issuer, err = authn.NewIssuer(p.url, s.opts.Authority.TokenKey()); err != nil {
		return nil, fmt.Errorf("preparing the issuer of tokens: %w", err)
	}
	verifier, err := authn.NewVerifier(p.url, []string{p.url}, s.opts.Authority.TokenPublicKeys(), boundObjects{s.client})
	if err != nil {
		return nil, fmt.Errorf("preparing the verifier of tokens: %w", err)
	}
	p.tokens = authn.Cached(verifier)
	return p, nil
}

// build assembles the generic server with all groups and returns it with its
// two handler chains.
func (s *Server) build(listener net.Listener) (*genericapiserver.GenericAPIServer, built, error) {
	p, err := s.policy()
	if err != nil {
		return nil, built{}, err
	}
	cfg := s.config(listener, p)
	stores, err := newStorages(s.scheme, s.codecs, s.opts.Store, cfg.StorageObjectCountTracker)
	if err != nil {
		return nil, built{}, err
	}
	cfg.RESTOptionsGetter = stores
	cfg.AddHealthChecks(stores.check())
	cfg.AddReadyzChecks(stores.filled())
	if cfg.AdmissionControl, err = admission.New(admission.Deps{Client: s.client, Informers: s.informers}); err != nil {
		return nil, built{}, err
	}
	server, err := cfg.Complete(nil).New("skiff", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, built{}, fmt.Errorf("assembling the API server: %w", err)
	}
	server.ShutdownTimeout = drainTime
	server.RegisterDestroyFunc(stores.stop)
	if err := s.install(server, stores, p); err != nil {
		return nil, built{}, err
	}
	pages, err := authn.Describe(p.url, "https://"+cfg.ExternalAddress+authn.KeysPath, s.opts.Authority.TokenPublicKeys())
	if err != nil {
		return nil, built{}, err
	}
	for path, page := range pages {
		server.Handler.NonGoRestfulMux.Handle(path, page)
	}
	if err := installSchemas(server, cfg); err != nil {
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
func (s *Server) install(server *genericapiserver.GenericAPIServer, stores *storages, p *policy) error {
	groups, err := resource.Groups(resource.Deps{
		Scheme:            s.scheme,
		Codecs:            s.codecs,
		RESTOptionsGetter: stores,
		ServiceCIDRs:      []netip.Prefix{s.opts.ServiceCIDR},
		NodePorts:         resource.PortRange{First: int32(s.opts.NodePorts.First), Last: int32(s.opts.NodePorts.Last)},
		NodeConn:          &nodeConn{authority: s.opts.Authority},
		TokenIssuer:       p.issuer,
	})
	if err != nil {
		return fmt.Errorf("preparing the kinds: %w", err)
	}
	groups = append(groups, review.Groups(review.Deps{
		Scheme: s.scheme, Codecs: s.codecs, Tokens: authn.Reviewed(p.tokens), Audiences: authenticator.Audiences{p.url},
		Rules: p.rules, Resolver: p.rules,
	})...)
	var named []*genericapiserver.APIGroupInfo
	for _, g := range groups {
		if g.PrioritizedVersions[0].Group != "" {
			named = append(named, g)
			continue
		}
		if err := server.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, g); err != nil {
			return fmt.Errorf("installing the core group: %w", err)
		}
	}
	if err := server.InstallAPIGroups(named...); err != nil {
		return fmt.Errorf("installing the API groups: %w", err)
	}
	return nil
}
