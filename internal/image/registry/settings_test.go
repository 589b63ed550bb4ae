package registry

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// settings writes files below a new directory; a name says its place.
func settings(t *testing.T, files map[string]string) Files {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return Files{
		Registries: filepath.Join(dir, "registries.yaml"), Certs: filepath.Join(dir, "certs.d"),
		Auth: []string{filepath.Join(dir, "auth.json")}, Logins: []string{filepath.Join(dir, "login.json")},
	}
}

// short says an endpoint in one word: URL, repository, and what is special.
func short(ep Endpoint) string {
	s := ep.URL.String() + "|" + ep.Repo
	for word, is := range map[string]bool{"+own": ep.Own} {
		if is {
			s += word
		}
	}
	if !ep.Pull {
		s += "-pull"
	}
	if !ep.Resolve {
		s += "-resolve"
	}
	if ep.TLS != nil && ep.TLS.InsecureSkipVerify {
		s += "+skip"
	}
	for _, a := range ep.Auth {
		s += "+" + a.Username + a.IdentityToken
	}
	return s
}

const someRegistries = `
mirrors:
  docker.io:
    endpoint: ["https://mirror.example.com", "https://mirror.example.com/v2/", "https://harbor.example.com/v2/proxy"]
    rewrite:
      "^library/(.*)": "hub/$1"
      "^(.*)$": "rest/$1"
  plain.example.com:5000:
    endpoint: ["http://plain.example.com:5000"]
  "*":
    endpoint: [any.example.com]
configs:
  docker.io:
    auth: {username: hub, password: "1234"}
  mirror.example.com:
    auth: {auth: YTpi}
    tls: {insecure_skip_verify: true}
`

func TestEndpoints(t *testing.T) {
	f := settings(t, map[string]string{
		"registries.yaml": someRegistries,
		"certs.d/toml.example.com/hosts.toml": `
server = "https://toml.example.com"
skip_verify = true
[host."https://z.example.com"]
  capabilities = ["pull"]
[host."http://a.example.com:80/some/root"]
  capabilities = ["resolve", "push"]
  override_path = true
[host."https://mirror.example.com/x".header]
  X-Key = ["a", "b"]
`,
		"certs.d/under.example.com_5000_/hosts.toml": `server = "https://elsewhere.example.com"`,
		"certs.d/top.example.com/hosts.toml":         "skip_verify = true\ncapabilities = []\n[host.\"https://m.example.com\"]\ncapabilities = []",
		"certs.d/none.example.com/hosts.toml":        `[host."https://m.example.com"]`,
	})
	for in, want := range map[string]string{
		"docker.io library/busybox": "https://mirror.example.com/v2|hub/busybox+skip+a https://harbor.example.com/v2/proxy|hub/busybox " +
			"https://registry-1.docker.io/v2|library/busybox+own+hub",
		"docker.io team/app":         "https://mirror.example.com/v2|rest/team/app+skip+a https://harbor.example.com/v2/proxy|rest/team/app https://registry-1.docker.io/v2|team/app+own+hub",
		"plain.example.com:5000 app": "http://plain.example.com:5000/v2|app+own",
		"other.example.com app":      "https://any.example.com/v2|app https://other.example.com/v2|app+own",
		"toml.example.com app": "https://z.example.com/v2|app-resolve http://a.example.com:80/some/root|app-pull " +
			"https://mirror.example.com/x/v2|app+skip+a https://toml.example.com/v2|app+own+skip",
		"under.example.com:5000 app": "https://elsewhere.example.com/v2|app",
		"top.example.com app":        "https://m.example.com/v2|app https://top.example.com/v2|app+own+skip",
		"none.example.com app":       "https://m.example.com/v2|app https://none.example.com/v2|app+own",
	} {
		domain, repo, _ := strings.Cut(in, " ")
		list, err := f.Endpoints(domain, repo)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		var got []string
		for _, ep := range list {
			got = append(got, short(ep))
			if ep.Registry != domain {
				t.Errorf("%s: registry %q", in, ep.Registry)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s:\n got %s\nwant %s", in, s, want)
		}
		f := f
		f.NoDefault = true
		if list, err = f.Endpoints(domain, repo); err != nil || (domain == "docker.io" || domain == "other.example.com") && list[len(list)-1].Own {
			t.Errorf("%s without the default endpoint: %v, %v", in, list, err)
		}
	}
	list, err := Files{NoDefault: true}.Endpoints("docker.io", "x")
	if err != nil || len(list) != 1 || !list[0].Own {
		t.Errorf("no files: %v, %v", list, err)
	}
}

func TestDefaultHostsBeforeWildcard(t *testing.T) {
	f := settings(t, map[string]string{
		"registries.yaml":             someRegistries,
		"certs.d/_default/hosts.toml": `[host."https://default.example.com"]`,
	})
	for domain, want := range map[string]string{"docker.io": "mirror.example.com", "other.example.com": "default.example.com"} {
		list, err := f.Endpoints(domain, "app")
		if err != nil || list[0].Host() != want || !list[len(list)-1].Own {
			t.Errorf("%s: %v, %v", domain, list, err)
		}
	}
}

// Each mistake is named with its file and its line or field, and no secret shows.
func TestBrokenSettings(t *testing.T) {
	const toml = "certs.d/r.example.com/hosts.toml"
	for name, c := range map[string]struct{ file, data, want string }{
		"no yaml":         {"registries.yaml", "mirrors:\n\tx", "registries.yaml: line 2: "},
		"unknown field":   {"registries.yaml", "mirrors:\n  a:\n    endpoints: [x]", `line 3: field endpoints is not known`},
		"wrong kind":      {"registries.yaml", "configs:\n  a:\n    tls: {insecure_skip_verify: s3cret}", "line 3: cannot unmarshal"},
		"list for text":   {"registries.yaml", "configs:\n  a:\n    auth:\n      password: [s3cret]", "line 4: it must be one text"},
		"scheme":          {"registries.yaml", "mirrors:\n  a:\n    endpoint:\n    - ftp://x", `line 4: mirrors.a.endpoint "ftp://x": its scheme "ftp"`},
		"password in URL": {"registries.yaml", "mirrors:\n  a:\n    endpoint:\n    - https://u:s3cret@x", `line 4: mirrors.a.endpoint "https://...@x": user and password`},
		"expression":      {"registries.yaml", "mirrors:\n  a:\n    rewrite:\n      \"(\": x", `line 4: field "rewrite": error parsing regexp`},
		"auth":            {"registries.yaml", "configs:\n  a:\n    auth:\n      auth: czNjcmV0", `line 4: configs.a.auth: "auth" is no base64 of USER:PASSWORD`},
		"auth of all":     {"registries.yaml", "configs:\n  \"*\":\n    auth: {password: s3cret}", "name the registry"},
		"no such CA":      {"registries.yaml", "configs:\n  r.example.com:\n    tls:\n      ca_file: /nowhere", "line 4: configs.r.example.com.tls: reading certificate authority: open /nowhere"},
		"half a pair":     {"registries.yaml", "configs:\n  \"*\":\n    tls:\n      key_file: /nowhere", "line 4: configs.*.tls: cert_file and key_file go together"},
		"no toml":         {toml, "server = \"x\"\n[host", "r.example.com/hosts.toml: line 2: "},
		"toml field":      {toml, "[host.\"https://x\"]\nskip_verfy = true", `skip_verfy" is not known`},
		"toml kind":       {toml, "\nskip_verify = \"yes\"", `hosts.toml: line 2 (last key "skip_verify"): incompatible types`},
		"capability":      {toml, "[host.\"https://x\"]\ncapabilities = [\"fly\"]", `host."https://x": field "capabilities": "fly"`},
		"toml URL":        {toml, "server = \"gopher://x\"", `server "gopher://x": its scheme`},
		"toml CA":         {toml, "ca = \"nowhere.crt\"\nserver=\"https://x\"", "/certs.d/r.example.com/nowhere.crt: no such file"},
		"toml client":     {toml, "client = [[1]]\nserver=\"https://x\"", `field "client"`},
		"time":            {toml, "dial_timeout = \"3\"\nserver=\"https://x\"", `field "dial_timeout"`},
		"header":          {toml, "server=\"https://x\"\n[header]\nX-Key = 7", `field "header": "X-Key"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := settings(t, map[string]string{c.file: c.data})
			list, err := f.Endpoints("r.example.com", "app")
			if err == nil || list != nil || !errors.Is(err, ErrSettings) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file) {
				t.Errorf("got %v, %v, want %q", list, err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "registry.")) {
				t.Errorf("the error shows a secret or a type of ours: %v", err)
			}
		})
	}
}

func TestCredentialFiles(t *testing.T) {
	const program = "#!/bin/sh\n[ \"$1\" = get ] || exit 9\nread server\ncase $server in\n" +
		"*index.docker.io/v1/) echo '{\"Username\":\"<token>\",\"Secret\":\"refresh\"}';;\n" +
		"none*) echo 'credentials not found in native keychain'; exit 1;;\n" +
		"broken*) echo 'no cloud today' >&2; exit 1;;\n*) echo '{\"Username\":\"helped\",\"Secret\":\"s\"}';;\nesac\n"
	f := settings(t, map[string]string{
		"auth.json": `{"auths":{"a.example.com/team":{"auth":"dGVhbTpw"},"a.example.com":{"auth":"YTpi"},"stored.example.com":{}},
			"credHelpers":{"helped.example.com":"test","gone.example.com":"gone","evil.example.com":"../../bin/sh"},"credsStore":"test"}`,
		"login.json":                 `{"auths":{"broken.example.com":{"auth":"bG9naW46cA=="}},"credsStore":"gone"}`,
		"bin/docker-credential-test": program,
	})
	bin := filepath.Join(filepath.Dir(f.Registries), "bin")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for in, want := range map[string]string{
		"a.example.com team/app": "team a", "a.example.com x": "a", "stored.example.com x": "helped", "helped.example.com x": "helped",
		"docker.io library/busybox": "/refresh", "none.example.com x": "", "broken.example.com x": "login",
		"gone.example.com x": `error auth.json: running docker-credential-gone`, "evil.example.com x": `error auth.json: credential helper "../../bin/sh"`,
	} {
		domain, repo, _ := strings.Cut(in, " ")
		found, err := f.Credentials(context.Background(), domain, repo)
		var names []string
		for _, c := range found {
			if c.IdentityToken != "" {
				c.Username = "/" + c.IdentityToken
			}
			names = append(names, c.Username)
		}
		if says, ok := strings.CutPrefix(want, "error "); ok {
			if err == nil || !errors.Is(err, ErrSettings) || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want %s", in, err, says)
			}
		} else if s := strings.Join(names, " "); err != nil || s != want {
			t.Errorf("%s: %q, %v, want %q", in, s, err, want)
		}
	}
	// What others wrote may hold passwords, and starts nothing.
	f.Auth, f.Logins = nil, f.Auth
	if found, err := f.Credentials(context.Background(), "helped.example.com", "x"); err != nil || found != nil {
		t.Errorf("a program that a login file names: %v, %v", found, err)
	}
	broken := settings(t, map[string]string{"login.json": "{\n\"auths\": {\"x\": \"s3cret\"}}"})
	if _, err := broken.Credentials(context.Background(), "x", "y"); err == nil || !strings.Contains(err.Error(), "login.json: line 2: field") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a broken file: %v", err)
	}
}
