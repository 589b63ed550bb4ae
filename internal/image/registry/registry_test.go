package registry

import (
	"encoding/base64"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestChallenges(t *testing.T) {
	for in, want := range map[string][]challenge{
		`Basic realm="x"`: {{"basic", map[string]string{"realm": "x"}}},
		`Bearer realm="https://a/token",service="s",scope="repository:x:pull,push"`: {
			{"bearer", map[string]string{"realm": "https://a/token", "service": "s", "scope": "repository:x:pull,push"}}},
		`Negotiate, Bearer realm=plain, Basic realm="a\"b"`: {
			{"negotiate", map[string]string{}}, {"bearer", map[string]string{"realm": "plain"}}, {"basic", map[string]string{"realm": `a"b`}}},
		``: nil, `"`: nil, `=x`: nil, `Basic realm="open`: {{"basic", map[string]string{"realm": "open"}}},
	} {
		if got := parseChallenges([]string{in}); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	auth := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	secret := []byte(`{"auths":{
		"https://index.docker.io/v1/":{"auth":"` + auth("hub:p") + `"},
		"reg.example.com":{"username":"host","password":"p"},
		"reg.example.com/team":{"auth":"` + auth("team:p:q") + `"},
		"*.example.org":{"auth":"` + auth("glob:p") + `"},
		"http://port.example.com:5000/v2/":{"identitytoken":"t"}}}`)
	for in, want := range map[string]string{
		"docker.io library/busybox": "hub", "reg.example.com team/app": "team host", "reg.example.com teamwork/app": "host",
		"a.example.org x": "glob", "a.b.example.org x": "", "port.example.com:5000 x": "/t", "port.example.com x": "", "other.com x": "",
	} {
		domain, repo, _ := strings.Cut(in, " ")
		got, err := Match([][]byte{secret}, domain, repo)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range got {
			name := c.Username
			if c.IdentityToken != "" {
				name = "/" + c.IdentityToken
			}
			names = append(names, name)
		}
		if s := strings.Join(names, " "); s != want {
			t.Errorf("%s: %q, want %q", in, s, want)
		}
	}
	for _, bad := range []string{`no json with password`, `{"auths":{"h":{"auth":"%%%"}}}`, `{"auths":{"h":{"auth":"bm9jb2xvbg=="}}}`} {
		if _, err := Match([][]byte{[]byte(bad)}, "h", "x"); err == nil || strings.Contains(err.Error(), "password") && !strings.Contains(err.Error(), "PASSWORD") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// A registry elsewhere cannot lead the node to what listens on its own loopback.
func TestClearText(t *testing.T) {
	for _, c := range []struct {
		registry, to string
		want         bool
	}{
		{"registry.example.com", "127.0.0.1:2379", false},
		{"registry.example.com", "localhost", false},
		{"registry.example.com", "registry.example.com", false},
		{"127.0.0.1:5000", "127.0.0.1:5001", true},
		{"localhost:5000", "localhost:5000", true},
		{"localhost:5000", "example.com", false},
	} {
		if got := New(Direct(c.registry, "a"), Options{}).plainAllowed(c.to); got != c.want {
			t.Errorf("from %s to %s: %v", c.registry, c.to, got)
		}
	}
	if got := printable("a\u009b31m\x1b[0m\xffb"); got != "a 31m [0m?b" {
		t.Errorf("%q", got)
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:80": true, "127.9.9.9": true, "[::1]:5000": true, "::1": true,
		"10.0.0.1:5000": false, "localhost.example.com": false, "127.0.0.1.example.com": false, "example.com": false,
	} {
		if got := IsLoopback(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

// TestRetryAfter reads both forms of what a busy registry asks for.
func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7": 7 * time.Second, "86400": time.Hour, "-1": 0, "": 0, "soon": 0,
		"Sat, 28 Nov 2026 10:00:30 GMT": 30 * time.Second, "Sat, 28 Nov 2026 09:00:00 GMT": 0,
	} {
		h := http.Header{"Date": {"Sat, 28 Nov 2026 10:00:00 GMT"}, "Retry-After": {text}}
		if got := retryAfter(h); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
