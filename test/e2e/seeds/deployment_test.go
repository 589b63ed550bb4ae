package seeds

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.skiff.dev/skiff/test/e2e/cluster"
)

//go:embed deployment.yaml
var deployment string

func TestDeploymentBehindService(t *testing.T) {
	c := cluster.Start(t)
	c.Apply(deployment)
	c.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	service := "http://" + field(c, "service/web", ".spec.clusterIP") + "/"

	t.Run("the Service balances over all pods", func(t *testing.T) { balances(t, c, service) })
	t.Run("scaling changes the endpoints", func(t *testing.T) { scales(t, c) })
	t.Run("a deleted pod is replaced", func(t *testing.T) { replaces(t, c) })
	t.Run("a rolling update under constant requests loses none", func(t *testing.T) { updates(t, c, service) })
	t.Run("a rollback restores the old version", func(t *testing.T) { rollsBack(t, c, service) })
}

// names lists the pods of the Deployment that are not going away.
func names(c *cluster.Cluster) []string {
	out := c.Kubectl("get", "pods", "-l", "app=web", "-o", `go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}{{"\n"}}{{end}}{{end}}`)
	return slices.Sorted(slices.Values(strings.Fields(out)))
}

// endpoints lists the addresses behind the Service.
func endpoints(c *cluster.Cluster) []string {
	out := c.Kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", `jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}{.addresses[0]}{"\n"}{end}`)
	return slices.Sorted(slices.Values(strings.Fields(out)))
}

func balances(t *testing.T, c *cluster.Cluster, service string) {
	want := names(c)
	answered := map[string]int{}
	const calls = 300
	for range calls {
		body := get(t, service)
		for _, name := range want {
			if strings.Contains(body, name) {
				answered[name]++
			}
		}
	}
	for _, name := range want {
		// With a fair choice among three, fewer than 60 of 300 has a chance of
		// less than one in 10^6.
		if answered[name] < 60 {
			t.Errorf("%s answered %d of %d calls: %v", name, answered[name], calls, answered)
		}
	}
}

func scales(t *testing.T, c *cluster.Cluster) {
	for _, n := range []int{5, 2, 3} {
		c.Kubectl("scale", "deployment/web", fmt.Sprintf("--replicas=%d", n))
		c.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
		cluster.Until(t, func() error {
			if e := endpoints(c); len(e) != n {
				return fmt.Errorf("with %d replicas the endpoints are %v", n, e)
			}
			return nil
		})
	}
}

func replaces(t *testing.T, c *cluster.Cluster) {
	before := names(c)
	c.Kubectl("delete", "pod", before[0])
	c.Kubectl("rollout", "status", "deployment/web", "--timeout=60s")
	after := names(c)
	if len(after) != 3 || slices.Contains(after, before[0]) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// load calls the Service without pause, each call on a connection of its own,
// and counts what went wrong.
type load struct {
	calls, failed atomic.Int64
	first         atomic.Value
	stop, done    chan struct{}
}

func startLoad(url string) *load {
	l := &load{stop: make(chan struct{}), done: make(chan struct{})}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			l.calls.Add(1)
			response, err := client.Get(url)
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					err = fmt.Errorf("answered %s", response.Status)
				}
			}
			if err != nil {
				l.failed.Add(1)
				l.first.CompareAndSwap(nil, err)
			}
		}
	}()
	return l
}

// check ends the load and fails the test if a call was lost.
func (l *load) check(t *testing.T) {
	t.Helper()
	close(l.stop)
	<-l.done
	if l.calls.Load() < 20 {
		t.Errorf("only %d calls were made", l.calls.Load())
	}
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d calls failed, the first: %v", n, l.calls.Load(), l.first.Load())
	}
}

func updates(t *testing.T, c *cluster.Cluster, service string) {
	l := startLoad(service)
	c.Kubectl("set", "env", "deployment/web", "VERSION=2")
	c.Kubectl("rollout", "status", "deployment/web", "--timeout=90s")
	l.check(t)
	answersVersion(t, c, service, "2")
}

func rollsBack(t *testing.T, c *cluster.Cluster, service string) {
	l := startLoad(service)
	c.Kubectl("rollout", "undo", "deployment/web")
	c.Kubectl("rollout", "status", "deployment/web", "--timeout=90s")
	l.check(t)
	answersVersion(t, c, service, "1")
	if revision := field(c, "deployment/web", `.metadata.annotations.deployment\.kubernetes\.io/revision`); revision != "3" {
		t.Errorf("after an update and a rollback the revision is %q, want 3", revision)
	}
}

func answersVersion(t *testing.T, c *cluster.Cluster, service, version string) {
	t.Helper()
	cluster.Until(t, func() error {
		if n := len(endpoints(c)); n != 3 {
			return fmt.Errorf("%d endpoints", n)
		}
		return nil
	})
	for range 10 {
		if body := get(t, service); !strings.Contains(body, "version: "+version) {
			t.Errorf("answered %q, want version %s", body, version)
		}
	}
}
