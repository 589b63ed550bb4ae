package image

import (
	"context"

	"go.skiff.dev/skiff/internal/image/registry"
)

// openRepository finds out where ref can be read, and with which credentials.
// The files with settings are read now: a change of them needs no restart.
func (s *Store) openRepository(ctx context.Context, ref Reference, opts PullOptions) (*registry.Repository, error) {
	endpoints, err := s.opts.Registries.Endpoints(ref.Domain, ref.Path)
	if err != nil {
		return nil, err
	}
	return registry.Open(ctx, endpoints, registry.Access{
		PlainHTTP: opts.PlainHTTP, InsecureSkipVerify: opts.InsecureSkipVerify, Transport: s.opts.Transport,
		Credentials: func(ep registry.Endpoint) ([]registry.Credentials, error) {
			return s.credentials(ctx, ref, ep, opts)
		},
	}), nil
}

// credentials lists what to try at an endpoint, in order: what came with the
// pull, then the pull secrets, then registries.yaml, then the node's files. A
// pull secret is for the registry that it names, so a mirror gets only what
// names the mirror. What cannot be read matters only when nothing else fits.
func (s *Store) credentials(ctx context.Context, ref Reference, ep registry.Endpoint, opts PullOptions) ([]registry.Credentials, error) {
	domain, path := ep.Host(), ep.Repo
	var out []registry.Credentials
	if ep.Own {
		domain, path = ref.Domain, ref.Path
		if opts.Auth != (Auth{}) {
			out = append(out, registry.Credentials(opts.Auth))
		}
	}
	matched, err := registry.Match(opts.Secrets, domain, path)
	out = append(append(out, matched...), ep.Auth...)
	if len(out) > 0 {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	return s.opts.Registries.Credentials(ctx, domain, path)
}
