package container

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

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

// BenchmarkMemory reports what 100 pods of two containers cost besides skiff.
func BenchmarkMemory(b *testing.B) {
	n := newNode(b)
	var pauses []int
	for i := range 100 {
		box, config := n.sandbox(fmt.Sprint("p", i), nil)
		n.run(box, config, "c", nil, "sleep", "1000")
		r, _ := n.s.findSandbox(box)
		pauses = append(pauses, r.rec.Load().PID)
	}
	info, err := n.s.sup.Info(n.ctx())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		time.Sleep(3 * time.Second) //nolint:forbidigo // the supervisor tidies up when it is quiet
	}
	b.ReportMetric(private(b, info.PID), "supervisor-KiB")
	b.ReportMetric(private(b, pauses[50]), "pause-KiB")
	if os.Getenv("SMAPS") != "" {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", info.PID))
		_ = os.WriteFile(os.Getenv("SMAPS"), data, 0o644)
		st, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", info.PID))
		b.Logf("%s", st)
	}
}

// private is the memory that only this process has.
func private(b *testing.B, pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	var sum float64
	for line := range strings.Lines(string(data)) {
		var n float64
		if strings.HasPrefix(line, "Private_") {
			if _, err := fmt.Sscan(strings.Fields(line)[1], &n); err == nil {
				sum += n
			}
		}
	}
	return sum
}
