package resource

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkCreatePod is a pod's way through defaults, validation and the store.
func BenchmarkCreatePod(b *testing.B) {
	s := startServer(b)
	ctx := context.Background()
	for i := 0; b.Loop(); i++ {
		if _, err := s.CoreV1().Pods("default").Create(ctx, newPod(fmt.Sprintf("p%d", i)), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateService allocates an address and a node port for each.
func BenchmarkCreateService(b *testing.B) {
	s := startServer(b)
	ctx := context.Background()
	for i := 0; b.Loop(); i++ {
		if _, err := s.CoreV1().Services("default").Create(ctx, newService(fmt.Sprintf("s%d", i)), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
