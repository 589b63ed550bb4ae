package registry

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

const hostsName = "hosts.toml"

// hostsFile is hosts.toml as containerd documents it (docs/hosts.md): what is
// at the top is about "server". Unlike there an unknown field is an error.
type hostsFile struct {
	Server string `toml:"server"`
	hostTable
	Host map[string]hostTable `toml:"host"`
}

type hostTable struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   *bool          `toml:"skip_verify"`
	OverridePath bool           `toml:"override_path"`
	Header       map[string]any `toml:"header"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// hostDirs are the names of a registry's directory below certs.d. HOST_PORT_ is
// for file systems that know no colon; as in containerd it is looked for first.
func hostDirs(domain string) []string {
	if host, port, ok := strings.Cut(domain, ":"); ok && !strings.HasPrefix(domain, "[") {
		return []string{host + "_" + port + "_", domain}
	}
	return []string{domain}
}

// hosts reads the first directory that there is; nil when there is none.
func (f Files) hosts(domain, repo string, dirs ...string) ([]Endpoint, error) {
	if f.Certs == "" {
		return nil, nil
	}
	for _, name := range dirs {
		dir := filepath.Join(f.Certs, name)
		file := filepath.Join(dir, hostsName)
		data, err := readIfThere(file)
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		list, err := parseHosts(data, dir, domain, repo)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w; mend the file or move it away", ErrSettings, file, err)
		}
		return list, nil
	}
	return nil, nil
}

// parseHosts gives the endpoints in the order of the file, then the server:
// the registry itself where the file names none and has settings for it.
func parseHosts(data []byte, dir, domain, repo string) ([]Endpoint, error) {
	var doc hostsFile
	meta, err := toml.Decode(string(data), &doc)
	if err != nil {
		return nil, tomlError(err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, fmt.Errorf("field %q is not known", strings.Join(unknown[0], "."))
	}
	out := []Endpoint{}
	for _, key := range meta.Keys() {
		if len(key) < 2 || key[0] != "host" || slices.ContainsFunc(out, func(e Endpoint) bool { return e.named == key[1] }) {
			continue
		}
		ep, err := doc.Host[key[1]].endpoint(key[1], dir, repo)
		if err != nil {
			return nil, fmt.Errorf("host.%q: %w", withoutUser(key[1]), err)
		}
		out = append(out, ep)
	}
	if doc.Server == "" {
		if !slices.ContainsFunc(meta.Keys(), func(k toml.Key) bool { return k[0] != "host" }) {
			return out, nil
		}
		doc.Server, doc.OverridePath, doc.Capabilities = domain, false, nil // which are for a server that is named, as in containerd
	}
	ep, err := doc.endpoint(doc.Server, dir, repo)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", withoutUser(doc.Server), err)
	}
	ep.server = true
	return append(out, ep), nil
}

// tomlError says where without showing what: a header may be a secret.
func tomlError(err error) error {
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		return fmt.Errorf("line %d: %s", parse.Position.Line, printable(parse.Message))
	}
	return errors.New(printable(strings.TrimPrefix(err.Error(), "toml: ")))
}

func (h hostTable) endpoint(name, dir, repo string) (Endpoint, error) {
	u, find, err := parseEndpoint(name, h.OverridePath)
	if err != nil {
		return Endpoint{}, err
	}
	ep := Endpoint{URL: u, FindScheme: find, Repo: repo, named: name, Resolve: len(h.Capabilities) == 0, Pull: len(h.Capabilities) == 0}
	for _, c := range h.Capabilities {
		switch c {
		case "pull":
			ep.Pull = true
		case "resolve":
			ep.Resolve = true
		case "push", "referrers": // skiff does neither
		default:
			return ep, fmt.Errorf("field \"capabilities\": %q is none of pull, resolve, push", c)
		}
	}
	if ep.Header, err = h.headers(); err != nil {
		return ep, err
	}
	if h.DialTimeout != "" {
		if ep.DialTimeout, err = time.ParseDuration(h.DialTimeout); err != nil || ep.DialTimeout <= 0 {
			return ep, fmt.Errorf("field \"dial_timeout\": %q is no duration above zero, such as 3s", h.DialTimeout)
		}
	}
	files, err := h.tls(dir)
	if err != nil || files == nil {
		return ep, err
	}
	ep.TLS, err = files.load()
	return ep, err
}

func (h hostTable) headers() (http.Header, error) {
	out := http.Header{}
	for name, value := range h.Header {
		values, ok := texts(value)
		if !ok {
			return nil, fmt.Errorf("field \"header\": %q must be a text or a list of texts", name)
		}
		for _, v := range values {
			out.Add(name, v)
		}
	}
	return out, nil
}

// tls reads the three forms of "client": a file with both, a list of such
// files, a list of pairs of certificate and key. nil when nothing is set.
func (h hostTable) tls(dir string) (*tlsFiles, error) {
	if h.CA == nil && h.Client == nil && h.SkipVerify == nil {
		return nil, nil
	}
	var out tlsFiles
	out.skip = h.SkipVerify != nil && *h.SkipVerify
	ca, ok := texts(h.CA)
	if !ok {
		return nil, errors.New("field \"ca\" must be a file or a list of files")
	}
	for _, file := range ca {
		out.ca = append(out.ca, below(dir, file))
	}
	if files, ok := texts(h.Client); ok {
		for _, file := range files {
			out.pairs = append(out.pairs, [2]string{below(dir, file), below(dir, file)})
		}
		return &out, nil
	}
	list, _ := h.Client.([]any)
	for _, item := range list {
		pair, ok := texts(item)
		if !ok || len(pair) < 1 || len(pair) > 2 {
			return nil, errors.New("field \"client\": each item must be a file, or a pair of certificate and key")
		}
		key := pair[len(pair)-1]
		if key == "" {
			key = pair[0]
		}
		out.pairs = append(out.pairs, [2]string{below(dir, pair[0]), below(dir, key)})
	}
	if list == nil {
		return nil, errors.New("field \"client\" must be a file, a list of files, or a list of pairs of certificate and key")
	}
	return &out, nil
}

func below(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

// texts reads a text or a list of texts.
func texts(v any) ([]string, bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		return []string{v}, true
	case []any:
		var out []string
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}
