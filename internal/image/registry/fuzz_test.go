package registry

import (
	"strings"
	"testing"
)

// checkWords: an error is for a terminal and for a log, whatever the file holds.
func checkWords(t *testing.T, err error) {
	t.Helper()
	if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
		t.Errorf("the error has control characters: %q", err)
	}
}

func checkEndpoints(t *testing.T, list []Endpoint) {
	t.Helper()
	for _, ep := range list {
		if ep.URL == nil || ep.URL.Host == "" || ep.URL.Scheme != "http" && ep.URL.Scheme != "https" {
			t.Errorf("endpoint %+v", ep)
		}
	}
}

// FuzzRegistriesYAML: any registries.yaml is taken or refused in words.
func FuzzRegistriesYAML(f *testing.F) {
	for _, s := range []string{
		"mirrors:\n  docker.io:\n    endpoint: [\"https://mirror.example:5000/v2\"]\n    rewrite: {\"^library/(.*)\": \"hub/$1\"}\n",
		"mirrors: {\"*\": {endpoint: [http://127.0.0.1:5000]}}\nconfigs: {\"127.0.0.1:5000\": {auth: {username: u, password: secret}, tls: {insecure_skip_verify: true}}}\n",
		"configs:\n  x:\n    auth:\n      password: [secret]\n", "configs: {x: {auth: {auth: secret}}}\n", "mirrors:\n  x: {endpoint: [\"secret://u:secret@\"]}\n",
		"&a [*a]", "a: &a [x, x]\nb: &b [*a, *a]\nmirrors: *b\n", "mirrors: {x: {rewrite: {\"(\": y}}}", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRegistries(data, "registries.yaml")
		checkWords(t, err)
		if err != nil {
			return
		}
		for domain := range r.Mirrors {
			list, err := r.mirrors(domain, "library/busybox")
			if err != nil {
				t.Errorf("an error that the check did not find: %v", err)
			}
			checkEndpoints(t, list)
		}
		for host := range r.Configs {
			_, err := r.auth(host)
			checkWords(t, err)
		}
	})
}

// FuzzHostsTOML: the same for hosts.toml.
func FuzzHostsTOML(f *testing.F) {
	for _, s := range []string{
		"server = \"https://registry-1.docker.io\"\n[host.\"https://mirror.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n",
		"[host.\"http://u:secret@mirror\"]\n skip_verify = true\n dial_timeout = \"2s\"\n[host.\"http://u:secret@mirror\".header]\n Authorization = [\"secret\"]\n",
		"[host.\"https://x\"]\ncapabilities = [\"fly\"]\n", "server = 3", "[host.x.header]\na = [1]\n", "host = [", "",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseHosts(data, "/nowhere", "docker.io", "library/busybox")
		checkWords(t, err)
		if err == nil {
			checkEndpoints(t, list)
		}
	})
}

// FuzzPullSecret: any pull secret gives credentials for a registry that it names, or an error.
func FuzzPullSecret(f *testing.F) {
	for _, s := range []string{
		`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpodW50ZXIyaHVudGVyMg=="}}}`, `{"auths":{"docker.io":{"username":"u","password":""secret""}}}`,
		`{"docker.io":{"auth":""secret""}}`, `{"auths":{"*.io/library":{"auth":"dTpw"}}}`, `{"auths":{"docker.io":"secret"}}`, `{"auths":null}`, `[]`,
	} {
		f.Add([]byte(s), "docker.io", "library/busybox")
	}
	f.Fuzz(func(t *testing.T, data []byte, domain, repo string) {
		_, err := Match([][]byte{data}, domain, repo)
		checkWords(t, err)
	})
}

// FuzzChallenge: any WWW-Authenticate header is read to its end.
func FuzzChallenge(f *testing.F) {
	for _, s := range []string{`Bearer realm="https://auth/token",service="r",scope="repository:a:pull"`, `Basic realm="x", Bearer realm=y`, `a="\`, `,,= ="`, `Bearer`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, c := range parseChallenges([]string{header}) {
			if c.scheme == "" {
				t.Errorf("%q has a scheme without a name", header)
			}
		}
	})
}
