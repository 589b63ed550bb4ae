package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// benchmark is one measurement; it may give several figures.
type benchmark struct {
	name    string
	measure func(context.Context) ([]result, error)
}

// benchmarks lists the measurements in order.
func benchmarks() []benchmark {
	return []benchmark{
		{"start", measureStart},
		{"rest", measureRest},
		{"pods", measurePods},
		{"deployment", measureDeployment},
		{"container", measureContainer},
		{"supervisor", measureSupervised},
		{"layer", func(ctx context.Context) ([]result, error) { return withLayer(ctx, measureLayer) }},
		{"import", measureImport},
		{"growth", func(ctx context.Context) ([]result, error) { return withLayer(ctx, measureGrowth) }},
	}
}

// measureStart starts a fresh cluster five times.
func measureStart(ctx context.Context) ([]result, error) {
	var samples []time.Duration
	for range 5 {
		took, err := func() (time.Duration, error) {
			began := time.Now()
			s, err := start(ctx)
			took := time.Since(began)
			if err != nil {
				return 0, err
			}
			return took, s.purge()
		}()
		if err != nil {
			return nil, err
		}
		samples = append(samples, took)
	}
	return []result{{"start to Ready", median(samples), "ms", fmt.Sprintf("median of %d fresh starts", len(samples))}}, nil
}

// restTime is how long the cluster is left alone before and while its idle
// cost is read; it is the measurement itself.
const restTime = 30 * time.Second

// measureRest reads memory and CPU of an idle cluster.
func measureRest(ctx context.Context) (_ []result, err error) {
	s, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.purge()) }()
	if err := pause(ctx, restTime); err != nil {
		return nil, err
	}
	pids, err := s.pids(ctx)
	if err != nil {
		return nil, err
	}
	before, err := cpuTime(pids)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, restTime); err != nil {
		return nil, err
	}
	after, err := cpuTime(pids)
	if err != nil {
		return nil, err
	}
	memory, err := s.memory(ctx)
	if err != nil {
		return nil, err
	}
	return []result{
		{"memory at rest (PSS)", mebibytes(memory), "MiB", "all processes of skiff"},
		{"CPU at rest", 100 * (after - before).Seconds() / restTime.Seconds(), "% of a core", fmt.Sprintf("over %s", restTime)},
	}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// cpuTime sums the CPU time of processes (proc_pid_stat(5), fields 14 and 15,
// in ticks of 1/100 s).
func cpuTime(pids []int) (time.Duration, error) {
	var ticks int64
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		text := string(data)
		fields := strings.Fields(text[strings.LastIndex(text, ")")+1:])
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

func mebibytes(n uint64) float64 { return float64(n) / (1 << 20) }

// podSamples is how many pods are made one after another.
const podSamples = 30

// measurePods makes and deletes pods one at a time.
func measurePods(ctx context.Context) (_ []result, err error) {
	s, err := start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.purge()) }()
	var create, remove []time.Duration
	for i := range podSamples {
		up, down, err := s.onePod(ctx, fmt.Sprintf("p%d", i))
		if err != nil {
			return nil, err
		}
		create, remove = append(create, up), append(remove, down)
	}
	return []result{
		{"pod create to Ready p50", percentile(create, 50), "ms", ""},
		{"pod create to Ready p99", percentile(create, 99), "ms", ""},
		{"pod delete to gone p50", percentile(remove, 50), "ms", "process exits on TERM"},
	}, nil
}

// onePod measures a pod's way to Ready, and from its deletion until it is gone.
func (s *skiff) onePod(ctx context.Context, name string) (up, down time.Duration, err error) {
	pods := s.client.CoreV1().Pods("default")
	watcher, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return 0, 0, err
	}
	defer watcher.Stop()
	began := time.Now()
	if _, err := pods.Create(ctx, hello(name), metav1.CreateOptions{}); err != nil {
		return 0, 0, err
	}
	if err := until(ctx, watcher, func(e watch.Event) bool { return isReady(e.Object.(*corev1.Pod)) }); err != nil {
		return 0, 0, err
	}
	up = time.Since(began)
	began = time.Now()
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return 0, 0, err
	}
	err = until(ctx, watcher, func(e watch.Event) bool { return e.Type == watch.Deleted })
	return up, time.Since(began), err
}

// until reads events until one is right, for at most a minute.
func until(ctx context.Context, w watch.Interface, right func(watch.Event) bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the cluster: %w", ctx.Err())
		case e, ok := <-w.ResultChan():
			if !ok {
				return fmt.Errorf("the watch ended")
			}
			if e.Type == watch.Error {
				return fmt.Errorf("the watch failed: %w", apierrors.FromObject(e.Object))
			}
			if right(e) {
				return nil
			}
		}
	}
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// hello is a pod of the carried image.
func hello(name string) *corev1.Pod {
	grace := int64(5)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "hello", Image: "skiff.dev/hello:1"}},
		},
	}
}
