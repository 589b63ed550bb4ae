package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	v1 "k8s.io/api/core/v1"
)

// http asks with one GET. Certificates are not checked: a probe asks whether
// someone answers, and the pod's own certificate is rarely made for its address.
// Redirects are followed only on the same host; elsewhere they count as success
// with a warning, so that a container cannot send the node's requests to another place.
func (a *Asker) http(ctx context.Context, h *v1.HTTPGetAction, t Target, timeout time.Duration) (Result, string, error) {
	u, err := URL(h, t)
	if err != nil {
		return Unknown, "", err
	}
	header, host := Headers(h, a.UserAgent)
	resp, err := Get(ctx, u.String(), header, host, timeout)
	if err != nil {
		return Failure, err.Error(), nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, OutputLimit))
	if err != nil && len(body) == 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Failure, err.Error(), nil
	}
	switch code := resp.StatusCode; {
	case code >= http.StatusOK && code < http.StatusMultipleChoices:
		return Success, string(body), nil
	case code >= http.StatusMultipleChoices && code < http.StatusBadRequest:
		return Warning, "Probe terminated redirects, Response body: " + string(body), nil
	}
	return Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", resp.StatusCode), nil
}

// Get makes one request on a connection of its own. A kept connection would ask
// the process that was there before, not the one that is.
func Get(ctx context.Context, url string, header http.Header, host string, timeout time.Duration) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header, req.Host = header, host
	client := &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see the comment of http
			DisableKeepAlives:  true,
			DisableCompression: true,
			Proxy:              nil, // the node's proxy settings are not meant for pods
		},
		CheckRedirect: sameHost,
	}
	return client.Do(req)
}

func sameHost(req *http.Request, via []*http.Request) error {
	if req.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}
