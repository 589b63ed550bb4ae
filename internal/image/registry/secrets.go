package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"
)

// dockerHubKey is Docker Hub's name in docker's config.json.
const dockerHubKey = "index.docker.io/v1"

type authEntry struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Match returns the credentials in pull secrets (the contents of
// .dockerconfigjson, config.json or .dockercfg) that are for the repository
// domain/path, the most specific first, as the kubelet tries them. A secret
// that cannot be read is an error beside what the others give.
func Match(secrets [][]byte, domain, repo string) ([]Credentials, error) {
	var found []match
	var errs []error
	for i, data := range secrets {
		entries, err := parseSecret(data)
		if err != nil {
			errs = append(errs, fmt.Errorf("pull secret %d: %w", i+1, err))
		}
		for _, m := range matching(entries, domain, repo) {
			if _, err := m.credentials(); err != nil {
				errs = append(errs, fmt.Errorf("pull secret %d: entry for %q: %w", i+1, m.key, err))
				continue
			}
			found = append(found, m)
		}
	}
	bySpecific(found)
	var out []Credentials
	for _, m := range found {
		if c, err := m.credentials(); err == nil {
			out = append(out, c)
		}
	}
	return out, errors.Join(errs...)
}

// match is an entry that is for a repository, with its normal key.
type match struct {
	key string
	authEntry
}

func matching(entries map[string]authEntry, domain, repo string) []match {
	var found []match
	for key, e := range entries {
		if key = normalKey(key); keyMatches(key, domain, repo) {
			found = append(found, match{key, e})
		}
	}
	bySpecific(found)
	return found
}

// bySpecific puts the longest key first, and the rest in an order that does not
// depend on that of a map.
func bySpecific(found []match) {
	sort.SliceStable(found, func(a, b int) bool {
		if la, lb := len(found[a].key), len(found[b].key); la != lb {
			return la > lb
		}
		return found[a].key < found[b].key
	})
}

func parseSecret(data []byte) (map[string]authEntry, error) {
	var doc struct {
		Auths map[string]authEntry `json:"auths"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		// The decoder's own message could show parts of the secret.
		return nil, errors.New("it is no JSON document of the form {\"auths\": {...}}")
	}
	if doc.Auths != nil {
		return doc.Auths, nil
	}
	var old map[string]authEntry
	if err := json.Unmarshal(data, &old); err != nil {
		return nil, errors.New("it has no \"auths\"")
	}
	return old, nil
}

func (e authEntry) credentials() (Credentials, error) {
	c := Credentials{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
	if e.Auth == "" {
		return c, nil
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(e.Auth))
	if err != nil {
		if plain, err = base64.RawStdEncoding.DecodeString(strings.TrimSpace(e.Auth)); err != nil {
			return c, errors.New("\"auth\" is no base64")
		}
	}
	user, password, ok := strings.Cut(string(plain), ":")
	if !ok {
		return c, errors.New("\"auth\" is no base64 of USER:PASSWORD")
	}
	c.Username, c.Password = user, strings.Trim(password, "\x00")
	return c, nil
}

// normalKey brings "https://index.docker.io/v1/" and its like to HOST[/PATH].
func normalKey(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key = strings.TrimSuffix(key, "/")
	switch key {
	case dockerHubKey, "index.docker.io", "registry-1.docker.io", "docker.io/v1", "index.docker.io/v2":
		return "docker.io"
	}
	return strings.TrimSuffix(strings.TrimSuffix(key, "/v1"), "/v2")
}

// SameServer says whether the address of a server, as docker's config.json has it as a key, is that of a name's domain.
func SameServer(address, domain string) bool {
	host, _, _ := strings.Cut(normalKey(address), "/")
	return host == normalKey(domain)
}

// keyMatches compares host (each label may be a glob, the port must be equal)
// and path prefix.
func keyMatches(key, domain, repo string) bool {
	host, prefix, _ := strings.Cut(key, "/")
	if prefix != "" && repo != prefix && !strings.HasPrefix(repo, prefix+"/") {
		return false
	}
	if host == domain {
		return true
	}
	kh, kp, _ := strings.Cut(host, ":")
	dh, dp, _ := strings.Cut(domain, ":")
	kl, dl := strings.Split(kh, "."), strings.Split(dh, ".")
	if kp != dp || len(kl) != len(dl) {
		return false
	}
	for i := range kl {
		if ok, err := path.Match(kl[i], dl[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
