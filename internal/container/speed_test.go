package container

import (
	"fmt"
	"sync"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func BenchmarkSandbox(b *testing.B) {
	n := newNode(b)
	for b.Loop() {
		id, _ := n.sandbox("pod", nil)
		b.StopTimer()
		if _, err := n.s.RemovePodSandbox(n.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkContainer(b *testing.B) {
	n := newNode(b)
	box, config := n.sandbox("pod", nil)
	for i := 0; b.Loop(); i++ {
		id := n.run(box, config, fmt.Sprint("c", i), nil, "sleep", "1000")
		b.StopTimer()
		if _, err := n.s.RemoveContainer(n.ctx(), &runtimeapi.RemoveContainerRequest{ContainerId: id}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkExec(b *testing.B) {
	n := newNode(b)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "a", nil, "sleep", "1000")
	for b.Loop() {
		n.exec(id, "true")
	}
}

// BenchmarkHundredPods starts 100 sandboxes with one container each at once.
func BenchmarkHundredPods(b *testing.B) {
	n := newNode(b)
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				box, config := n.sandbox(fmt.Sprint("p", i), nil)
				n.run(box, config, "c", nil, "sleep", "1000")
			})
		}
		wg.Wait()
		b.StopTimer()
		for _, box := range n.s.allSandboxes() {
			wg.Go(func() {
				if _, err := n.s.RemovePodSandbox(n.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: box.rec.Load().ID}); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.StartTimer()
	}
}
