package kubelet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/kubelet/probe"
)

// hookBody bounds what is read of a hook's HTTP answer.
const hookBody = 10 << 10

// runHook runs a lifecycle hook of a container: a command in it, a request to
// it, or a pause.
func (k *Kubelet) runHook(ctx context.Context, pod *v1.Pod, c *v1.Container, id, ip string, h *v1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		output, code, err := k.execProbe(ctx, id, h.Exec.Command, remaining(ctx))
		if err != nil {
			return fmt.Errorf("running hook of container %s: %w", c.Name, err)
		}
		if code != 0 {
			k.log.Info("hook failed", "pod", podName(pod), "container", c.Name, "code", code, "output", string(output[:min(len(output), 512)]))
			return fmt.Errorf("hook of container %s exited with code %d", c.Name, code)
		}
		return nil
	case h.HTTPGet != nil:
		return k.httpHook(ctx, c, ip, h.HTTPGet)
	case h.TCPSocket != nil:
		return tcpHook(ctx, c, ip, h.TCPSocket)
	case h.Sleep != nil:
		select {
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	default:
		return fmt.Errorf("hook of container %s has no handler", c.Name)
	}
}

// remaining is the time until the deadline of ctx; 0: there is none.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline), time.Second)
}

func (k *Kubelet) httpHook(ctx context.Context, c *v1.Container, ip string, h *v1.HTTPGetAction) error {
	u, err := probe.URL(h, probe.Target{Container: c, IP: ip})
	if err != nil {
		return err
	}
	header, host := probe.Headers(h, userAgent)
	resp, err := probe.Get(ctx, u.String(), header, host, remaining(ctx))
	if err != nil {
		return fmt.Errorf("requesting hook of container %s: %w", c.Name, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, hookBody)) // any answer will do
	if resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("hook of container %s answered %s", c.Name, resp.Status)
	}
	return nil
}

func tcpHook(ctx context.Context, c *v1.Container, ip string, s *v1.TCPSocketAction) error {
	port, err := probe.Port(s.Port, c)
	if err != nil {
		return err
	}
	host := firstOf(s.Host, ip)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("connecting hook of container %s: %w", c.Name, err)
	}
	return conn.Close()
}
