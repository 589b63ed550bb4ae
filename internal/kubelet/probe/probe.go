// Package probe asks containers whether they have started, live, and are ready:
// by a command, by HTTP, by a TCP connection, or by gRPC's health protocol.
//
// Watch runs one probe of one container: it waits for its times, asks, counts
// thresholds, and reports when the verdict changes (and every failed answer, for
// the events). The first question to a startup or readiness probe without an
// initial delay is asked at once, and while the container says no, again and
// again until the first period is over: a pod becomes ready when it is.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Kind is what a probe is for.
type Kind string

// The three kinds of probes, spelled as in events.
const (
	Startup   Kind = "Startup"
	Liveness  Kind = "Liveness"
	Readiness Kind = "Readiness"
)

// Result is one answer.
type Result int

// The answers: Unknown means that the question could not be asked, Warning is a
// success with something to tell of.
const (
	Unknown Result = iota
	Success
	Failure
	Warning
)

// Exec runs a command in a container. An error means that it could not be run
// to its end; it says so in words for the event. ErrTimeout counts as a failure.
type Exec func(ctx context.Context, containerID string, command []string, timeout time.Duration) (output []byte, exitCode int32, err error)

// Target is the container that is asked.
type Target struct {
	// Container is its specification: named ports are looked up there.
	Container   *v1.Container
	ContainerID string
	// IP is where the pod listens, if the probe names no host.
	IP string
	// Started is when the container started.
	Started time.Time
}

// Report is what Watch tells.
type Report struct {
	// Verdict is the answer after thresholds; Unknown: there is none yet.
	Verdict Result
	// Changed: the verdict is not what it was before.
	Changed bool
	// Answer and Output are of this one question.
	Answer Result
	Output string
	Err    error
}

// Asker asks.
type Asker struct {
	Exec Exec
	// UserAgent names the asker in HTTP requests.
	UserAgent string
}

// OutputLimit bounds what is kept of a probe's output, as upstream.
const OutputLimit = 10 << 10

// Ask asks once, within the probe's time-out.
func (a *Asker) Ask(ctx context.Context, p *v1.Probe, t Target) (Result, string, error) {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	switch {
	case p.Exec != nil:
		return a.exec(ctx, p.Exec, t, timeout)
	case p.HTTPGet != nil:
		return a.http(ctx, p.HTTPGet, t, timeout)
	case p.TCPSocket != nil:
		return tcp(ctx, p.TCPSocket, t, timeout)
	case p.GRPC != nil:
		return a.grpc(ctx, p.GRPC, t, timeout)
	default:
		return Unknown, "", fmt.Errorf("missing probe handler")
	}
}

func (a *Asker) exec(ctx context.Context, e *v1.ExecAction, t Target, timeout time.Duration) (Result, string, error) {
	output, code, err := a.Exec(ctx, t.ContainerID, e.Command, timeout)
	text := cut(string(output))
	switch {
	case errors.Is(err, ErrTimeout):
		return Failure, fmt.Sprintf("command timed out: %q timed out after %s", e.Command, timeout), nil
	case err != nil:
		return Unknown, text, err
	case code != 0:
		return Failure, text, nil
	default:
		return Success, text, nil
	}
}

// ErrTimeout is what Exec returns when the command took too long.
var ErrTimeout = fmt.Errorf("command timed out")

func tcp(ctx context.Context, s *v1.TCPSocketAction, t Target, timeout time.Duration) (Result, string, error) {
	port, err := Port(s.Port, t.Container)
	if err != nil {
		return Unknown, "", err
	}
	host := s.Host
	if host == "" {
		host = t.IP
	}
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return Failure, err.Error(), nil
	}
	_ = conn.Close() // it was only opened to see that it opens
	return Success, "", nil
}

// Port resolves a port by number or by the container's name for it.
func Port(p intstr.IntOrString, c *v1.Container) (int, error) {
	port := p.IntValue()
	if p.Type == intstr.String {
		port = 0
		for _, named := range c.Ports {
			if named.Name == p.StrVal {
				port = int(named.ContainerPort)
			}
		}
		if port == 0 {
			if n, err := strconv.Atoi(p.StrVal); err == nil {
				port = n
			} else {
				return 0, fmt.Errorf("couldn't find port: %v in container %s", p.StrVal, c.Name)
			}
		}
	}
	if port <= 0 || port > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", port)
	}
	return port, nil
}

// URL is the address that an HTTP action names.
func URL(h *v1.HTTPGetAction, t Target) (*url.URL, error) {
	port, err := Port(h.Port, t.Container)
	if err != nil {
		return nil, err
	}
	host := h.Host
	if host == "" {
		host = t.IP
	}
	u, err := url.Parse(h.Path)
	if err != nil {
		u = &url.URL{Path: h.Path}
	}
	u.Scheme = "http"
	if h.Scheme == v1.URISchemeHTTPS {
		u.Scheme = "https"
	}
	u.Host = net.JoinHostPort(host, strconv.Itoa(port))
	return u, nil
}

// Headers are an HTTP action's headers. The Host header is given apart, as
// net/http wants it.
func Headers(h *v1.HTTPGetAction, userAgent string) (header http.Header, host string) {
	header = http.Header{}
	for _, pair := range h.HTTPHeaders {
		if http.CanonicalHeaderKey(pair.Name) == "Host" {
			host = pair.Value
			continue
		}
		header.Add(pair.Name, pair.Value)
	}
	// As upstream: an empty Accept of the pod's own sends none.
	if _, own := header["User-Agent"]; !own {
		header.Set("User-Agent", userAgent)
	}
	if _, own := header["Accept"]; !own {
		header.Set("Accept", "*/*")
	} else if header.Get("Accept") == "" {
		header.Del("Accept")
	}
	return header, host
}

func cut(s string) string {
	if len(s) > OutputLimit {
		return s[:OutputLimit]
	}
	return s
}
