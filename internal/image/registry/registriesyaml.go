package registry

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// registriesFile is registries.yaml as k3s documents it ("Private Registry
// Configuration"), with the same words. Unlike there an unknown field is an error.
type registriesFile struct {
	file    string
	Mirrors map[string]mirror     `yaml:"mirrors"`
	Configs map[string]hostConfig `yaml:"configs"`
}

type mirror struct {
	Endpoint []yamlText `yaml:"endpoint"`
	Rewrite  rewrites   `yaml:"rewrite"`
}

type hostConfig struct {
	Auth *struct {
		Username      yamlText `yaml:"username"`
		Password      yamlText `yaml:"password"`
		Auth          yamlText `yaml:"auth"`
		IdentityToken yamlText `yaml:"identity_token"`
	} `yaml:"auth"`
	TLS *struct {
		CA   yamlText `yaml:"ca_file"`
		Cert yamlText `yaml:"cert_file"`
		Key  yamlText `yaml:"key_file"`
		Skip bool     `yaml:"insecure_skip_verify"`
	} `yaml:"tls"`
}

// yamlText is a text that knows its line. Its errors do not show it: it may be
// a password.
type yamlText struct {
	text string
	line int
}

// UnmarshalYAML takes any single value as text.
func (t *yamlText) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: it must be one text", n.Line)
	}
	t.line = n.Line
	if n.Tag != "!!null" {
		t.text = n.Value
	}
	return nil
}

// rewrites are tried in the order of the file; the first that matches is done.
type rewrites []rewrite

type rewrite struct {
	from *regexp.Regexp
	to   string
}

// UnmarshalYAML keeps the order, which a map would lose.
func (r *rewrites) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: field \"rewrite\" must map regular expressions to what takes their place", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		from, to := n.Content[i], n.Content[i+1]
		re, err := regexp.Compile(from.Value)
		if err != nil {
			return fmt.Errorf("line %d: field \"rewrite\": %w", from.Line, err)
		}
		if to.Kind != yaml.ScalarNode {
			return fmt.Errorf("line %d: field \"rewrite\": what takes the place of %q must be one text", to.Line, from.Value)
		}
		*r = append(*r, rewrite{re, to.Value})
	}
	return nil
}

func (r rewrites) apply(repo string) string {
	for _, one := range r {
		if one.from.MatchString(repo) {
			return one.from.ReplaceAllString(repo, one.to)
		}
	}
	return repo
}

// The decoder's errors name our types, of no use to the reader, and the value,
// which may be a password.
var (
	goType = regexp.MustCompile(` (not found in type|into) \S+`)
	quoted = regexp.MustCompile(" !!\\w+ `[^`]*`")
)

func readRegistries(file string) (registriesFile, error) {
	data, err := readIfThere(file)
	if err != nil || data == nil {
		return registriesFile{file: file}, err
	}
	return parseRegistries(data, file)
}

func parseRegistries(data []byte, file string) (registriesFile, error) {
	r := registriesFile{file: file}
	err := decodeYAML(data, &r)
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return r, fmt.Errorf("%w: %s: %s; mend the file or move it away", ErrSettings, file, printable(err.Error()))
	}
	return r, nil
}

// decodeYAML takes no unknown field. Its errors show no value: it may be a password.
func decodeYAML(data []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	err := d.Decode(into)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	words := strings.TrimPrefix(err.Error(), "yaml: ")
	words = strings.ReplaceAll(strings.TrimPrefix(words, "unmarshal errors:\n  "), "\n ", ";")
	words = quoted.ReplaceAllString(words, " what stands")
	words = goType.ReplaceAllStringFunc(words, func(s string) string {
		if strings.HasPrefix(s, " not found") {
			return " is not known"
		}
		return " there"
	})
	return errors.New(words)
}

// check finds what would be wrong for every registry, so that a mistake shows
// at the first pull and not at that of the registry it is about.
func (r *registriesFile) check() error {
	for host, m := range r.Mirrors {
		for _, e := range m.Endpoint {
			if _, _, err := parseEndpoint(e.text, false); err != nil {
				return fmt.Errorf("line %d: mirrors.%s.endpoint %q: %w", e.line, host, withoutUser(e.text), err)
			}
		}
	}
	for host, c := range r.Configs {
		if c.Auth != nil && host == "*" {
			return errors.New("configs.*.auth: a password for every registry would be given to whoever asks; name the registry")
		}
		if _, err := c.credentials(); err != nil {
			return fmt.Errorf("line %d: configs.%s.auth: %w", c.Auth.Auth.line, host, err)
		}
	}
	return nil
}

// withoutUser keeps a password that stands in a URL out of the error about it.
func withoutUser(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if at := strings.LastIndex(rest, "@"); ok && at >= 0 {
		return scheme + "://..." + rest[at:]
	}
	return url
}

// mirrors are the endpoints for a registry; nil when it has no entry.
func (r *registriesFile) mirrors(domain, repo string) ([]Endpoint, error) {
	m, ok := r.Mirrors[domain]
	if !ok {
		return nil, nil
	}
	out := []Endpoint{}
	for _, e := range m.Endpoint {
		// As in k3s a path other than /v2 is the API's whole root.
		_, path, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(e.text, "https://"), "http://"), "/")
		u, find, err := parseEndpoint(e.text, strings.Trim(path, "/") != "")
		if err != nil {
			return nil, err // check had it
		}
		out = append(out, Endpoint{URL: u, FindScheme: find, Repo: m.Rewrite.apply(repo), Resolve: true, Pull: true})
	}
	return slices.CompactFunc(out, func(a, b Endpoint) bool { return a.URL.String() == b.URL.String() }), nil
}

// config is what is set for a host.
func (r *registriesFile) config(host string) (name string, c hostConfig, ok bool) {
	names := []string{host}
	if host == hubHost {
		names = []string{hubHost, "docker.io"}
	}
	for _, name := range names {
		if c, ok := r.Configs[name]; ok {
			return name, c, true
		}
	}
	return "", hostConfig{}, false
}

// tls gives a host's TLS settings, those of "*" where it has none, or nil.
func (r *registriesFile) tls(host string) (*tls.Config, error) {
	name, c, _ := r.config(host)
	if c.TLS == nil {
		name, c = "*", r.Configs["*"]
	}
	if c.TLS == nil {
		return nil, nil
	}
	files := tlsFiles{skip: c.TLS.Skip}
	line := max(c.TLS.CA.line, c.TLS.Cert.line, c.TLS.Key.line)
	if c.TLS.CA.text != "" {
		files.ca = []string{c.TLS.CA.text}
	}
	if (c.TLS.Cert.text == "") != (c.TLS.Key.text == "") {
		return nil, fmt.Errorf("%w: %s: line %d: configs.%s.tls: cert_file and key_file go together", ErrSettings, r.file, line, name)
	}
	if c.TLS.Cert.text != "" {
		files.pairs = [][2]string{{c.TLS.Cert.text, c.TLS.Key.text}}
	}
	config, err := files.load()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: line %d: configs.%s.tls: %w", ErrSettings, r.file, line, name, err)
	}
	return config, nil
}

// auth gives the credentials for a host.
func (r *registriesFile) auth(host string) ([]Credentials, error) {
	_, c, ok := r.config(host)
	if !ok || c.Auth == nil {
		return nil, nil
	}
	cr, err := c.credentials()
	if err != nil || cr == (Credentials{}) {
		return nil, err
	}
	return []Credentials{cr}, nil
}

func (c hostConfig) credentials() (Credentials, error) {
	if c.Auth == nil {
		return Credentials{}, nil
	}
	return authEntry{
		Username: c.Auth.Username.text, Password: c.Auth.Password.text, Auth: c.Auth.Auth.text, IdentityToken: c.Auth.IdentityToken.text,
	}.credentials()
}
