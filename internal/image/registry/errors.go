package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Errors that callers branch on.
var (
	// ErrUnauthorized: the registry wants (other) credentials.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrNotFound: no such repository, tag, manifest or blob.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: the registry cannot be reached or does not answer now.
	ErrUnavailable = errors.New("registry unavailable")
	// ErrContent: the answer is not what was asked for.
	ErrContent = errors.New("wrong content from registry")
)

// Error is what a registry answered instead of what was asked for.
type Error struct {
	Host, What string
	Status     int
	// Reason is the registry's own explanation.
	Reason string
	// Authenticated says that credentials were sent.
	Authenticated bool
	// RetryAfter is what a 429 or 503 asked for.
	RetryAfter time.Duration
	kind       error
}

func (e *Error) Error() string {
	status := fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	if e.Reason != "" {
		status += ": " + e.Reason
	}
	switch {
	case errors.Is(e.kind, ErrUnauthorized) && e.Authenticated:
		return fmt.Sprintf("registry %s refused the credentials for %s: %s; check the pull secret", e.Host, e.What, status)
	case errors.Is(e.kind, ErrUnauthorized):
		return fmt.Sprintf("registry %s wants credentials for %s: %s; check the name, or give a pull secret", e.Host, e.What, status)
	case errors.Is(e.kind, ErrNotFound):
		return fmt.Sprintf("registry %s has no %s: %s; check the name and the tag", e.Host, e.What, status)
	case e.Status == http.StatusTooManyRequests:
		return fmt.Sprintf("registry %s limits pulls and refused %s: %s; wait, log in, or use a mirror", e.Host, e.What, status)
	}
	return fmt.Sprintf("registry %s answered for %s: %s", e.Host, e.What, status)
}

// Unwrap gives the kind of error.
func (e *Error) Unwrap() error { return e.kind }

func (c *Client) statusError(resp *http.Response, what string) error {
	e := &Error{Host: c.host, What: what, Status: resp.StatusCode, Reason: reason(resp)}
	cr, _ := c.credentials()
	e.Authenticated = cr != Credentials{}
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		e.kind = ErrUnauthorized
	case resp.StatusCode == http.StatusNotFound:
		e.kind = ErrNotFound
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500:
		e.kind = ErrUnavailable
		e.RetryAfter = retryAfter(resp.Header)
	default:
		e.kind = ErrContent
	}
	return e
}

// retryAfter reads a number of seconds or a date (RFC 9110, section 10.2.3),
// the date by the registry's own clock.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	var d time.Duration
	if s, err := strconv.Atoi(text); err == nil {
		d = time.Duration(min(s, 3600)) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		now, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			now = time.Now()
		}
		d = at.Sub(now)
	}
	return min(max(d, 0), time.Hour)
}

// reason reads the error document of the distribution specification.
func reason(resp *http.Response) string {
	data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if err != nil {
		return ""
	}
	var doc struct {
		Errors []struct{ Code, Message string }
		// Token servers answer in their own ways.
		Details, Message string
	}
	if json.Unmarshal(data, &doc) != nil {
		return ""
	}
	var parts []string
	for _, e := range doc.Errors {
		parts = append(parts, printable(strings.TrimSpace(strings.ToLower(e.Code)+": "+e.Message)))
	}
	if len(parts) == 0 {
		return printable(doc.Details + doc.Message)
	}
	return strings.Join(parts, "; ")
}

// printable keeps foreign text from forging log lines or terminals.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}

// unreachable wraps an error from below HTTP.
func (c *Client) unreachable(what string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return fmt.Errorf("%w: reaching %s for %s: %w", ErrUnavailable, c.host, what, err)
}

// temporary says whether trying again may help.
func temporary(err error) bool { return errors.Is(err, ErrUnavailable) && !isCertificate(err) }

func isCertificate(err error) bool {
	s := err.Error()
	return strings.Contains(s, "x509:") || strings.Contains(s, "no such host") || strings.Contains(s, "refusing redirect") || strings.Contains(s, tooManyRedirects)
}
