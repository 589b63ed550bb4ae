package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// answerChallenge reads a 401's WWW-Authenticate header and returns what to
// send instead of sent; "" when there is nothing better.
func (c *Client) answerChallenge(ctx context.Context, resp *http.Response, sent string) (string, error) {
	for _, ch := range parseChallenges(resp.Header.Values("WWW-Authenticate")) {
		var auth string
		var err error
		switch ch.scheme {
		case "bearer":
			auth, err = c.token(ctx, ch.params)
		case "basic":
			if cr, _ := c.credentials(); cr.Username != "" || cr.Password != "" {
				auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(cr.Username+":"+cr.Password))
			}
		default:
			continue
		}
		if err != nil {
			return "", err
		}
		if auth == "" || auth == sent {
			continue // a registry may take passwords and tokens, and give tokens to everybody
		}
		c.mu.Lock()
		c.header = auth
		c.mu.Unlock()
		return auth, nil
	}
	return "", nil
}

// findCredentials is called once, before the first request.
func (c *Client) findCredentials() error {
	creds := []Credentials{{}}
	if c.opts.Credentials != nil {
		found, err := c.opts.Credentials()
		if err != nil {
			return err
		}
		if len(found) > 0 {
			creds = found
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.creds, c.header = creds, bearer(creds[0])
	return nil
}

// credentials are those that are tried now, and their number.
func (c *Client) credentials() (Credentials, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.creds[c.using], c.using
}

// nextCredentials goes on after refused was; false when there are no others.
func (c *Client) nextCredentials(refused int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.using != refused {
		return true // another request found out first
	}
	if refused+1 == len(c.creds) {
		return false
	}
	c.using++
	c.header = bearer(c.creds[c.using])
	return true
}

func bearer(cr Credentials) string {
	if cr.RegistryToken == "" {
		return ""
	}
	return "Bearer " + cr.RegistryToken
}

func (c *Client) authorization() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.header
}

// token gets a bearer token as the "Docker Registry v2 authentication via
// central service" specification has it, or with OAuth2 for identity tokens.
func (c *Client) token(ctx context.Context, params map[string]string) (string, error) {
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && !(realm.Scheme == "http" && c.plainAllowed(realm.Host)) {
		return "", fmt.Errorf("%w: registry %s names %q as its token server, which is no https address", ErrContent, c.host, printable(params["realm"]))
	}
	scope := params["scope"]
	if scope == "" {
		scope = "repository:" + c.repo + ":pull"
	}
	req, err := c.tokenRequest(ctx, realm, params["service"], scope)
	if err != nil {
		return "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", c.unreachable("a token", err)
	}
	defer drain(resp)
	if resp.StatusCode != http.StatusOK {
		err := c.statusError(resp, "a token for "+c.repo)
		return "", err
	}
	var doc struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", c.unreachable("a token", err)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", fmt.Errorf("%w: decoding token from %s: %w", ErrContent, realm.Host, err)
	}
	if doc.Token == "" {
		doc.Token = doc.AccessToken
	}
	if doc.Token == "" {
		return "", fmt.Errorf("%w: %s gave no token", ErrContent, realm.Host)
	}
	return "Bearer " + doc.Token, nil
}

func (c *Client) tokenRequest(ctx context.Context, realm *url.URL, service, scope string) (*http.Request, error) {
	cr, _ := c.credentials()
	if cr.IdentityToken != "" {
		form := url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {cr.IdentityToken},
			"service": {service}, "scope": {scope}, "client_id": {"skiff"},
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}
	q := realm.Query()
	q.Set("scope", scope)
	if service != "" {
		q.Set("service", service)
	}
	realm.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err == nil && (cr.Username != "" || cr.Password != "") {
		req.SetBasicAuth(cr.Username, cr.Password)
	}
	return req, err
}

// challenge is one way to authenticate (RFC 9110, section 11).
type challenge struct {
	scheme string
	params map[string]string
}

// parseChallenges reads WWW-Authenticate headers: a scheme, then name="value"
// pairs with commas between them, then perhaps another scheme.
func parseChallenges(headers []string) []challenge {
	var out []challenge
	for _, h := range headers {
		for h = strings.TrimLeft(h, " \t,"); h != ""; h = strings.TrimLeft(h, " \t,") {
			word, rest := cutToken(h)
			if word == "" {
				break
			}
			if !strings.HasPrefix(rest, "=") {
				out = append(out, challenge{strings.ToLower(word), map[string]string{}})
				h = rest
				continue
			}
			var value string
			value, h = cutValue(rest[1:])
			if len(out) > 0 {
				out[len(out)-1].params[strings.ToLower(word)] = value
			}
		}
	}
	return out
}

func cutToken(s string) (token, rest string) {
	i := strings.IndexAny(s, " \t,=\"")
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

func cutValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		return cutToken(s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
