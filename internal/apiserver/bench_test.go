package apiserver_test

import (
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.skiff.dev/skiff/internal/apiserver/apitest"
)

// BenchmarkStart is a start from nothing, keys and certificates included, until
// the server is ready.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			b.Fatal(err)
		}
		_, stop, err := apitest.Run(dir)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := stop(); err != nil {
			b.Fatal(err)
		}
		os.RemoveAll(dir)
		b.StartTimer()
	}
}

// BenchmarkCreatePod creates pods one after the other.
func BenchmarkCreatePod(b *testing.B) {
	pods := apitest.Start(b).Client().CoreV1().Pods("default")
	for b.Loop() {
		pod := newPod("")
		pod.GenerateName = "p-"
		if _, err := pods.Create(b.Context(), pod, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreatePodParallel creates pods from many goroutines.
func BenchmarkCreatePodParallel(b *testing.B) {
	pods := apitest.Start(b).Client().CoreV1().Pods("default")
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			pod := newPod("")
			pod.GenerateName = "p-"
			if _, err := pods.Create(b.Context(), pod, metav1.CreateOptions{}); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkWatchLatency is the time from a write to its event in a watch.
func BenchmarkWatchLatency(b *testing.B) {
	maps := apitest.Start(b).Client().CoreV1().ConfigMaps("default")
	w, err := maps.Watch(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop()
	var total time.Duration
	for b.Loop() {
		if _, err := maps.Create(b.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "m-"}}, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		<-w.ResultChan()
		total += time.Since(began)
	}
	b.ReportMetric(float64(total.Microseconds())/float64(b.N), "us/after-answer")
}
