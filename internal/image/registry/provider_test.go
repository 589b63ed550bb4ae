package registry

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// cloud is a directory with one credential provider, a script, and what was asked of it.
type cloud struct {
	t     *testing.T
	dir   string
	p     *Providers
	clock time.Time
}

func newCloud(t *testing.T, config, script string) *cloud {
	t.Helper()
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("the provider is a script for /bin/sh")
	}
	c := &cloud{t: t, dir: t.TempDir(), clock: time.Unix(1e9, 0)}
	c.write("providers.yaml", config)
	c.write("cloud", "#!/bin/sh\necho \"$1 $REGION $(cat)\" >> "+filepath.Join(c.dir, "asked")+"\n"+script)
	c.p = NewProviders(filepath.Join(c.dir, "providers.yaml"), c.dir)
	c.p.now = func() time.Time { return c.clock }
	return c
}

func (c *cloud) write(name, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o700); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) asked() []string {
	data, _ := os.ReadFile(filepath.Join(c.dir, "asked"))
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

const oneProvider = `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: cloud
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["*.registry.cloud.example", "other.example:5000/team"]
  defaultCacheDuration: 10m
  args: [get]
  env: [{name: REGION, value: north}]
`

func answer(keyType, duration string) string {
	return fmt.Sprintf(`echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":%q,%s"auth":{"*.registry.cloud.example":{"username":"u","password":"p"},"x.example":{"username":"no","password":"no"}}}'`, keyType, duration)
}

func TestCredentialProvider(t *testing.T) {
	c := newCloud(t, oneProvider, answer("Registry", ""))
	f := Files{Providers: c.p, Auth: []string{filepath.Join(c.dir, "auth.json")}, Logins: []string{filepath.Join(c.dir, "login.json")}}
	c.write("login.json", `{"auths":{"eu.registry.cloud.example":{"username":"login","password":"x"},"free.example":{"username":"login","password":"x"}}}`)
	get := func(domain, repo, want string) {
		t.Helper()
		got, err := f.Credentials(t.Context(), domain, repo)
		names := []string{}
		for _, g := range got {
			names = append(names, g.Username)
		}
		if err != nil || strings.Join(names, " ") != want {
			t.Errorf("%s/%s: %q, %v; want %q", domain, repo, names, err, want)
		}
	}
	get("eu.registry.cloud.example", "app", "u")
	get("eu.registry.cloud.example", "other", "u") // kept for the registry
	get("free.example", "app", "login")            // not the program's
	want := `get north {"apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"eu.registry.cloud.example/app","kind":"CredentialProviderRequest"}`
	if got := c.asked(); !slices.Equal(got, []string{want}) {
		t.Errorf("it was asked %q", got)
	}
	c.clock = c.clock.Add(11 * time.Minute)
	get("eu.registry.cloud.example", "app", "u")
	get("us.registry.cloud.example", "app", "u")
	if got := c.asked(); len(got) != 3 {
		t.Errorf("it was asked %q", got)
	}
	// The node's own file goes before, without a restart.
	c.write("auth.json", `{"auths":{"eu.registry.cloud.example":{"username":"file","password":"x"}}}`)
	get("eu.registry.cloud.example", "app", "file")
}

func TestCredentialProviderKeeps(t *testing.T) {
	for _, k := range []struct {
		key, duration string
		asked         int
	}{{"Image", "", 3}, {"Registry", "", 2}, {"Global", "", 1}, {"Global", `"cacheDuration":"0s",`, 4}} {
		c := newCloud(t, oneProvider, answer(k.key, k.duration))
		for _, image := range [][2]string{{"a.registry.cloud.example", "x"}, {"a.registry.cloud.example", "x"}, {"a.registry.cloud.example", "y"}, {"b.registry.cloud.example", "x"}} {
			if _, err := c.p.credentials(t.Context(), image[0], image[1]); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(c.asked()); got != k.asked {
			t.Errorf("%+v: asked %d times", k, got)
		}
	}
}

func TestCredentialProviderFails(t *testing.T) {
	for says, script := range map[string]string{
		"exit status 3: no network":         "echo no network >&2; exit 3",
		"is no CredentialProviderResponse":  "echo hunter2",
		`cacheKeyType "Moon"`:               answer("Moon", ""),
		`cacheDuration "soon"`:              answer("Image", `"cacheDuration":"soon",`),
		"is no CredentialProviderResponse ": "head -c 3000000 /dev/zero",
	} {
		c := newCloud(t, oneProvider, script)
		_, err := c.p.credentials(t.Context(), "a.registry.cloud.example", "x")
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(says)) || !strings.Contains(err.Error(), `provider "cloud"`) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v does not say %q", err, says)
		}
	}
	c := newCloud(t, oneProvider, "sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.p.credentials(ctx, "a.registry.cloud.example", "x"); err == nil {
		t.Error("it waited for a program that nobody wants any more")
	}
	for field, config := range map[string]string{
		"apiVersion kubelet":         strings.Replace(oneProvider, "config.k8s.io/v1", "config.k8s.io/v1alpha1", 1),
		"providers[0].name":          strings.Replace(oneProvider, "name: cloud", "name: ../../bin/sh", 1),
		"providers[0].apiVersion":    strings.Replace(oneProvider, "credentialprovider.kubelet.k8s.io/v1", "x/v9", 1),
		"providers[0].matchImages":   strings.Replace(oneProvider, `["*.registry.cloud.example", "other.example:5000/team"]`, "[]", 1),
		"providers[0].defaultCache":  strings.Replace(oneProvider, "10m", "ten minutes", 1),
		"field tokenAttributes":      oneProvider + "  tokenAttributes: {}\n",
		"line 1: did not find":       "{",
		"kind CredentialProviderCon": "apiVersion: kubelet.config.k8s.io/v1\n",
	} {
		c := newCloud(t, config, "")
		if _, err := c.p.credentials(t.Context(), "a.registry.cloud.example", "x"); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %q", err, field)
		}
	}
}

// FuzzProviders: any configuration of credential providers is taken or refused.
func FuzzProviders(f *testing.F) {
	f.Add([]byte(oneProvider))
	f.Add([]byte("apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders: [{name: x, matchImages: [\"[\"]}]\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		list, err := parseProviders(data)
		if err != nil {
			return
		}
		for _, one := range list {
			one.matches("registry.example:5000", "a/b")
		}
	})
}
