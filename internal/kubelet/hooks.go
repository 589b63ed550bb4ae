package kubelet

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"

	"go.skiff.dev/skiff/internal/kubelet/probe"
)

// hookAgent names the node agent in the requests of hooks, as upstream.
const hookAgent = "kube-lifecycle/1.36"

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
		return k.httpHook(ctx, pod, c, ip, h.HTTPGet)
	case h.Sleep != nil:
		select {
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	default: // tcpSocket, which the API knows and no hook does
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

// httpHook makes the request of a hook. As upstream any answer will do. A server
// that speaks plain HTTP where the hook says HTTPS is asked again in that.
func (k *Kubelet) httpHook(ctx context.Context, pod *v1.Pod, c *v1.Container, ip string, h *v1.HTTPGetAction) error {
	u, err := probe.URL(h, probe.Target{Container: c, IP: ip})
	if err != nil {
		return err
	}
	header, host := probe.Headers(h, hookAgent)
	err = request(ctx, u.String(), header, host)
	if err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		u.Scheme = "http"
		header.Del("Authorization")
		if err = request(ctx, u.String(), header, host); err == nil {
			k.events.pod(pod, v1.EventTypeWarning, "LifecycleHTTPFallback",
				fmt.Sprintf("request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", u.Host))
		}
	}
	if err != nil {
		return fmt.Errorf("requesting hook of container %s: %w", c.Name, err)
	}
	return nil
}

func request(ctx context.Context, url string, header http.Header, host string) error {
	resp, err := probe.Get(ctx, url, header, host, remaining(ctx))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, hookBody))
	return nil
}
