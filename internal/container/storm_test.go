package container

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestKilledDuringCreates kills the supervisor again and again while pods are made and removed: calls may fail, and at the end
// nothing is left of any of them.
func TestKilledDuringCreates(t *testing.T) {
	for _, handler := range []string{"", "crun"} {
		t.Run("handler "+handler, func(t *testing.T) { killDuringCreates(t, handler) })
	}
}

func killDuringCreates(t *testing.T, handler string) {
	s := newSmall(t)
	if _, err := os.Stat(crun); err != nil && handler != "" {
		t.Skip("no crun (Debian: crun)")
	}
	s.s.deps.Handlers = map[string]string{"crun": crun}
	nothing := s.things()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var workers sync.WaitGroup
	done := make(chan struct{})
	for w := range 4 {
		workers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				s.podLife(ctx, fmt.Sprintf("pod-%d-%d", w, i), handler)
				select {
				case done <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}
	for kills := 0; kills < 15; {
		for range rand.IntN(4) {
			<-done
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) //nolint:forbidigo // any instant will do
		if info, err := s.s.sup.Info(ctx); err == nil && unix.Kill(info.PID, unix.SIGKILL) == nil {
			kills++
		}
	}
	cancel()
	workers.Wait()
	if !s.podLife(s.ctx(), "last", handler) {
		t.Error("no pod can be made any more")
	}
	s.removeAll(s.ctx())
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // what was half made is swept behind the start
		left := s.news(nothing)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left: %q", left)
		}
	}
}

// podLife makes a pod with a container and removes it, and reports whether all of that went well.
func (s *small) podLife(ctx context.Context, name, handler string) bool {
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name}, Hostname: "pod",
		LogDirectory: filepath.Join(s.node.dir, "logs", name),
		Linux: &runtimeapi.LinuxPodSandboxConfig{CgroupParent: s.cgroup + "/pod", SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
	made, err := s.s.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return false
	}
	id, err := s.create(made.GetPodSandboxId(), config, "app", nil, "sleep", "1000")
	if err == nil {
		_, err = s.s.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id})
	}
	_, rerr := s.s.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: made.GetPodSandboxId()})
	return err == nil && rerr == nil
}
