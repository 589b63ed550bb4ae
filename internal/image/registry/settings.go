package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Files are where a node's settings for registries lie. They are read anew at
// each pull, so that a change needs no restart. One that is missing sets
// nothing; one that is broken is an error of the pull, of the kind ErrSettings.
type Files struct {
	// Registries is registries.yaml, in the form of k3s.
	Registries string
	// Certs is certs.d, with HOST/hosts.toml in the form of containerd.
	Certs string
	// Auth and then Logins are files in the form of docker's config.json and
	// containers' auth.json; the first that fits a registry wins. Only those of
	// Auth may name programs to run: the others were not written for skiff.
	Auth, Logins []string
	// Providers, if set, are asked where Auth has nothing.
	Providers *Providers
	// NoDefault leaves the registry itself out where it has mirrors.
	NoDefault bool
}

// Endpoints lists where to read a repository, in the order to try. The list is
// that of the first place that names the registry; lists are never mixed:
//
//  1. certs.d/HOST/hosts.toml
//  2. mirrors.HOST of registries.yaml
//  3. certs.d/_default/hosts.toml
//  4. mirrors."*" of registries.yaml
//
// The registry itself comes last, in place of it the "server" of hosts.toml if
// there is one. What registries.yaml has in "configs" for an endpoint's host
// holds wherever the endpoint was named; TLS settings that hosts.toml has for
// it come before that, and certificates in a directory of certs.d without one.
func (f Files) Endpoints(domain, repo string) ([]Endpoint, error) {
	conf, err := readRegistries(f.Registries)
	if err != nil {
		return nil, err
	}
	list, err := f.listed(conf, domain, repo)
	if err != nil {
		return nil, err
	}
	own := false
	for i := range list {
		list[i].Registry = domain
		list[i].Own = list[i].Host() == apiHost(domain)
		own = own || list[i].Own || list[i].server
	}
	if !own && !(f.NoDefault && len(list) > 0) {
		list = append(list, Direct(domain, repo))
	}
	for i := range list {
		if err := f.complete(&list[i], conf); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (f Files) listed(conf registriesFile, domain, repo string) ([]Endpoint, error) {
	for _, place := range []func() ([]Endpoint, error){
		func() ([]Endpoint, error) { return f.hosts(domain, repo, hostDirs(domain)...) },
		func() ([]Endpoint, error) { return conf.mirrors(domain, repo) },
		func() ([]Endpoint, error) { return f.hosts(domain, repo, "_default") },
		func() ([]Endpoint, error) { return conf.mirrors("*", repo) },
	} {
		if list, err := place(); err != nil || list != nil {
			return list, err
		}
	}
	return nil, nil
}

// complete adds what registries.yaml has for the endpoint's host.
func (f Files) complete(ep *Endpoint, conf registriesFile) error {
	find := func(host string) (*tls.Config, error) {
		if config, err := f.certs(host); config != nil || err != nil {
			return config, err
		}
		return conf.tls(host)
	}
	var err error
	if ep.TLS == nil {
		if ep.TLS, err = find(ep.Host()); err != nil {
			return err
		}
	}
	ep.others = find
	ep.Auth, err = conf.auth(ep.Host())
	return err
}

// tlsFiles are a host's TLS settings, as both forms have them.
type tlsFiles struct {
	ca    []string
	pairs [][2]string
	skip  bool
}

// load reads the files. A certificate authority is trusted beside the system's.
func (t tlsFiles) load() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.skip} //nolint:gosec // asked for by the node's settings
	for _, file := range t.ca {
		if config.RootCAs == nil {
			pool, err := x509.SystemCertPool()
			if err != nil {
				pool = x509.NewCertPool() // a node without the system's certificates has these alone
			}
			config.RootCAs = pool
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading certificate authority: %w", err)
		}
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("reading certificate authority %s: it holds no certificate in PEM form", file)
		}
	}
	for _, pair := range t.pairs {
		cert, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			return nil, fmt.Errorf("reading client certificate %s with key %s: %w", pair[0], pair[1], err)
		}
		config.Certificates = append(config.Certificates, cert)
	}
	return config, nil
}

// readIfThere reads a file; nil when there is none.
func readIfThere(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w: reading %w", ErrSettings, err)
	case data == nil:
		data = []byte{}
	}
	return data, nil
}
