package registry

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrSettings says that a file with settings for registries cannot be used.
var ErrSettings = errors.New("wrong settings for registries")

// Endpoint is one place where a repository can be read: the registry that the
// image's name says, or a mirror of it.
type Endpoint struct {
	// URL is the root of the API, "https://mirror.example.com/v2".
	URL *url.URL
	// FindScheme: nobody said whether the host speaks TLS. It is tried first;
	// clear text follows only where Options.PlainHTTP or loopback allow it.
	FindScheme bool
	// Repo is the repository there, after rewriting.
	Repo string
	// Registry is the domain of the image's name. A mirror is told it as ?ns=,
	// so that one mirror can stand for many registries.
	Registry string
	// Own says that this is the registry itself, to which the pull secrets of
	// its name belong. A mirror never gets them.
	Own bool
	// Resolve allows asking for tags here, Pull for blobs and by digest.
	Resolve, Pull bool
	// TLS is nil where nothing is set for the host; others holds what is set
	// for the hosts that this one redirects to.
	TLS    *tls.Config
	others func(host string) (*tls.Config, error)
	// server: hosts.toml puts it in the registry's place; named is its key there.
	server bool
	named  string
	// Header is sent with each request, and to no other host.
	Header http.Header
	// DialTimeout bounds the connecting; 0 means 10 s.
	DialTimeout time.Duration
	// Auth is what the node's settings give for the host.
	Auth []Credentials
}

// Host is the host with its port.
func (e Endpoint) Host() string { return e.URL.Host }

// hubHost is where Docker Hub serves the API.
const hubHost = "registry-1.docker.io"

// apiHost is the host that serves the registry of a name.
func apiHost(domain string) string {
	if normalKey(domain) == "docker.io" {
		return hubHost
	}
	return domain
}

// Direct is the registry's own endpoint, as it is without settings.
func Direct(domain, repo string) Endpoint {
	return Endpoint{
		URL: &url.URL{Scheme: "https", Host: apiHost(domain), Path: "/v2"}, FindScheme: true,
		Repo: repo, Registry: domain, Own: true, Resolve: true, Pull: true,
	}
}

// parseEndpoint reads HOST, HOST:PORT or a URL. Without override the path is
// made to end in /v2.
func parseEndpoint(text string, override bool) (u *url.URL, findScheme bool, err error) {
	if findScheme = !strings.Contains(text, "://"); findScheme {
		text = "https://" + text
	}
	u, err = url.Parse(text)
	switch {
	case err != nil:
		return nil, false, errors.New("it is no URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, false, fmt.Errorf("its scheme %q is neither https nor http", u.Scheme)
	case u.Hostname() == "":
		return nil, false, errors.New("it names no host")
	case u.User != nil:
		return nil, false, errors.New("user and password do not belong there, give them in \"configs\" of registries.yaml")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, false, errors.New("it must end with its path")
	}
	u.Host = apiHost(u.Host)
	u.Path = strings.TrimRight(u.Path, "/")
	if !override && !strings.HasSuffix(u.Path, "/v2") {
		u.Path += "/v2"
	}
	return u, findScheme, nil
}
