package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec" //nolint:depguard // not a tool that skiff needs: a program that the node's owner names in a file of credentials
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Providers are programs that know credentials, as the kubelet has them (KEP-2133): a cloud's registries take passwords
// that live for hours. The configuration is read at each pull; what a program said is kept for as long as it said.
type Providers struct {
	// config is a CredentialProviderConfig of kubelet.config.k8s.io/v1, dir holds the programs.
	config, dir string
	now         func() time.Time

	mu    sync.Mutex
	cache map[string]cachedAuth
}

type cachedAuth struct {
	auth    map[string]authEntry
	expires time.Time
}

// NewProviders returns the programs that the file config names in the directory dir. Neither need exist.
func NewProviders(config, dir string) *Providers {
	return &Providers{config: config, dir: dir, now: time.Now, cache: map[string]cachedAuth{}}
}

const (
	providerConfigVersion = "kubelet.config.k8s.io/v1"
	providerVersion       = "credentialprovider.kubelet.k8s.io/v1"
	// providerTimeout bounds a program, maxProviderAnswer what it may say.
	providerTimeout   = time.Minute
	maxProviderAnswer = 1 << 20
)

// providerConfig is what is read of the kubelet's type; an unknown field is an error, as it would change what a
// program is asked.
type providerConfig struct {
	APIVersion string     `yaml:"apiVersion"`
	Kind       string     `yaml:"kind"`
	Providers  []provider `yaml:"providers"`
}

type provider struct {
	Name                 string   `yaml:"name"`
	APIVersion           string   `yaml:"apiVersion"`
	MatchImages          []string `yaml:"matchImages"`
	DefaultCacheDuration string   `yaml:"defaultCacheDuration"`
	Args                 []string `yaml:"args"`
	Env                  []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	} `yaml:"env"`

	cacheFor time.Duration
}

// providerAnswer is CredentialProviderResponse.
type providerAnswer struct {
	Kind          string  `json:"kind"`
	APIVersion    string  `json:"apiVersion"`
	CacheKeyType  string  `json:"cacheKeyType"`
	CacheDuration *string `json:"cacheDuration"`
	Auth          map[string]struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auth"`
}

// credentials asks every program whose images match; what is wrong with one is an error beside what others give.
func (p *Providers) credentials(ctx context.Context, domain, repo string) ([]Credentials, error) {
	if p == nil {
		return nil, nil
	}
	list, err := p.read()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrSettings, p.config, err)
	}
	auth := map[string]authEntry{}
	var errs []error
	for _, one := range list {
		if !one.matches(domain, repo) {
			continue
		}
		got, err := p.ask(ctx, one, domain, repo)
		if err != nil {
			errs = append(errs, fmt.Errorf("credential provider %q: %w", one.Name, err))
		}
		maps.Copy(auth, got)
	}
	var out []Credentials
	for _, m := range matching(auth, domain, repo) {
		out = append(out, Credentials{Username: m.Username, Password: m.Password})
	}
	return out, errors.Join(errs...)
}

func (p *Providers) read() ([]provider, error) {
	data, err := readIfThere(p.config)
	if err != nil || data == nil {
		return nil, err
	}
	return parseProviders(data)
}

func parseProviders(data []byte) ([]provider, error) {
	var c providerConfig
	if err := decodeYAML(data, &c); err != nil {
		return nil, err
	}
	if c.APIVersion != providerConfigVersion || c.Kind != "CredentialProviderConfig" {
		return nil, fmt.Errorf("it must be of apiVersion %s and kind CredentialProviderConfig, not %q and %q", providerConfigVersion, c.APIVersion, c.Kind)
	}
	for i := range c.Providers {
		if err := c.Providers[i].check(); err != nil {
			return nil, fmt.Errorf("providers[%d].%w", i, err)
		}
	}
	return c.Providers, nil
}

func (o *provider) check() error {
	switch {
	case !helperName.MatchString(o.Name):
		return fmt.Errorf("name: %q is not the name of a program", o.Name)
	case o.APIVersion != providerVersion:
		return fmt.Errorf("apiVersion: %q is not supported, %s is", o.APIVersion, providerVersion)
	case len(o.MatchImages) == 0:
		return errors.New("matchImages: names no image")
	case o.DefaultCacheDuration == "":
		return errors.New("defaultCacheDuration: must be given, 0s keeps nothing")
	}
	var err error
	if o.cacheFor, err = time.ParseDuration(o.DefaultCacheDuration); err != nil || o.cacheFor < 0 {
		return fmt.Errorf("defaultCacheDuration: %q is no duration such as 12h", o.DefaultCacheDuration)
	}
	return nil
}

func (o *provider) matches(domain, repo string) bool {
	for _, image := range o.MatchImages {
		if keyMatches(normalKey(image), domain, repo) {
			return true
		}
	}
	return false
}

// ask runs the program, unless it said something that still holds.
func (p *Providers) ask(ctx context.Context, o provider, domain, repo string) (map[string]authEntry, error) {
	for _, key := range []string{o.Name, o.Name + "\n" + domain, o.Name + "\n" + domain + "/" + repo} {
		if auth, ok := p.kept(key); ok {
			return auth, nil
		}
	}
	answer, err := p.run(ctx, o, domain+"/"+repo)
	if err != nil {
		return nil, err
	}
	auth := map[string]authEntry{}
	for key, a := range answer.Auth {
		auth[key] = authEntry{Username: a.Username, Password: a.Password}
	}
	key := o.Name
	switch answer.CacheKeyType {
	case "Global":
	case "Registry":
		key += "\n" + domain
	case "Image":
		key += "\n" + domain + "/" + repo
	default:
		return nil, fmt.Errorf("its answer has cacheKeyType %q, which is none of Image, Registry and Global", printable(answer.CacheKeyType))
	}
	cacheFor := o.cacheFor
	if answer.CacheDuration != nil {
		if cacheFor, err = time.ParseDuration(*answer.CacheDuration); err != nil {
			return nil, fmt.Errorf("its answer has cacheDuration %q, which is no duration", printable(*answer.CacheDuration))
		}
	}
	if cacheFor > 0 {
		p.keep(key, cachedAuth{auth, p.now().Add(cacheFor)})
	}
	return auth, nil
}

func (p *Providers) kept(key string) (map[string]authEntry, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.cache[key]
	return c.auth, ok && p.now().Before(c.expires)
}

// keep also forgets what no longer holds: images come and go.
func (p *Providers) keep(key string, c cachedAuth) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	maps.DeleteFunc(p.cache, func(_ string, old cachedAuth) bool { return !now.Before(old.expires) })
	p.cache[key] = c
}

func (p *Providers) run(ctx context.Context, o provider, image string) (providerAnswer, error) {
	var answer providerAnswer
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]string{"kind": "CredentialProviderRequest", "apiVersion": providerVersion, "image": image})
	if err != nil {
		return answer, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, o.Name), o.Args...)
	cmd.WaitDelay = time.Second
	cmd.Env = os.Environ()
	for _, e := range o.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	cmd.Stdin = bytes.NewReader(request)
	out, errs := &bounded{limit: maxProviderAnswer}, &bounded{limit: 4096}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return answer, fmt.Errorf("running it for %s: %w: %s", image, err, printable(strings.TrimSpace(errs.String())))
	}
	// The decoder's words could show a password.
	if json.Unmarshal(out.Bytes(), &answer) != nil || answer.Kind != "CredentialProviderResponse" || answer.APIVersion != providerVersion {
		return answer, fmt.Errorf("its answer is no CredentialProviderResponse of %s", providerVersion)
	}
	return answer, nil
}

// bounded keeps the beginning of what a program says.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(data []byte) (int, error) {
	n := len(data)
	_, err := b.Buffer.Write(data[:min(n, max(0, b.limit-b.Len()))])
	return n, err
}
