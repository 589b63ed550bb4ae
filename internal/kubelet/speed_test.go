package kubelet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkPodLife measures one pod at a time, from its creation in the API to
// Ready, and from its deletion to its absence.
func BenchmarkPodLife(b *testing.B) {
	if !enter(b) {
		return
	}
	c := startCluster(b)
	var up, down []time.Duration
	for i := range max(b.N, 20) {
		name := fmt.Sprintf("p%d", i)
		began := time.Now()
		c.pod(name, "trap 'exit 0' TERM; sleep 1000 & wait", nil)
		c.ready(name)
		up = append(up, time.Since(began))
		began = time.Now()
		c.remove(name)
		down = append(down, time.Since(began))
	}
	slices.Sort(up)
	slices.Sort(down)
	ms := func(all []time.Duration, part int) float64 {
		return float64(all[len(all)*part/100].Microseconds()) / 1000
	}
	b.ReportMetric(ms(up, 50), "ready-p50-ms")
	b.ReportMetric(ms(up, 99), "ready-p99-ms")
	b.ReportMetric(ms(down, 50), "gone-p50-ms")
}

// BenchmarkBurst measures a hundred pods at once, to all Ready and to all gone.
func BenchmarkBurst(b *testing.B) {
	if !enter(b) {
		return
	}
	const count = 100
	c := startCluster(b)
	all := func(want func([]v1.Pod) bool) {
		ctx, cancel := context.WithTimeout(b.Context(), 2*time.Minute)
		defer cancel()
		seen := map[string]v1.Pod{}
		w, err := c.client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			b.Fatal(err)
		}
		defer w.Stop()
		for e := range w.ResultChan() {
			p, ok := e.Object.(*v1.Pod)
			if !ok {
				continue
			}
			seen[p.Name] = *p
			if e.Type == "DELETED" {
				delete(seen, p.Name)
			}
			var pods []v1.Pod
			for _, p := range seen {
				pods = append(pods, p)
			}
			if want(pods) {
				return
			}
		}
		b.Fatal("the pods did not get there")
	}
	began := time.Now()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range count / 4 {
				c.pod(fmt.Sprintf("b%d-%d", i, j), "trap 'exit 0' TERM; sleep 1000 & wait", nil)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(time.Since(began).Seconds(), "created-s")
	all(func(pods []v1.Pod) bool {
		ready := 0
		for i := range pods {
			if isReady(&pods[i]) {
				ready++
			}
		}
		return ready == count
	})
	b.ReportMetric(time.Since(began).Seconds(), "ready-s")
	began = time.Now()
	if err := c.client.CoreV1().Pods("default").DeleteCollection(b.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		b.Fatal(err)
	}
	for {
		list, err := c.client.CoreV1().Pods("default").List(b.Context(), metav1.ListOptions{Limit: 1})
		if err != nil {
			b.Fatal(err)
		}
		if len(list.Items) == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // a measurement to this precision
	}
	b.ReportMetric(time.Since(began).Seconds(), "gone-s")
}
