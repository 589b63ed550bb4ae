package container

import (
	"context"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/supervisor"
)

// TestCreateWhileRemoved creates containers in a sandbox that is being removed: none may be left without its sandbox.
func TestCreateWhileRemoved(t *testing.T) {
	n := newNode(t)
	// Copying the volume takes longer than the removal of an empty sandbox.
	n.importImage("busybox:1", imageSpec{Volumes: map[string]struct{}{"/data": {}}, files: map[string]string{"data/large": strings.Repeat("x", 64<<20)}})
	for range 5 {
		box, config := n.sandbox("pod", nil)
		var all sync.WaitGroup
		for _, name := range []string{"a", "b"} {
			all.Go(func() { _, _ = n.create(box, config, name, nil, "true") })
		}
		all.Go(func() {
			if _, err := n.s.RemovePodSandbox(n.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: box}); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		if left := n.s.listContainers(nil); len(left) > 0 {
			t.Fatalf("%d containers have no sandbox: %v", len(left), left)
		}
	}
}

// TestStartedAfterTheList compares with a list that the supervisor made before the containers began, as it may be when
// the connection to it is new.
func TestStartedAfterTheList(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sleep", "1000")
	n.s.compare(n.ctx(), map[string]*supervisor.Container{}, false)
	if st := n.status(id); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the container is taken for %s (%s)", st.State, st.Reason)
	}
	st, err := n.s.PodSandboxStatus(n.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box})
	if err != nil || st.Status.State != runtimeapi.PodSandboxState_SANDBOX_READY || st.Timestamp == 0 {
		t.Errorf("the sandbox: %v, %v", st, err)
	}
}

func TestTimeouts(t *testing.T) {
	for given, want := range map[int64]time.Duration{
		-1: 0, 0: 0, 30: 30 * time.Second, 1 << 40: 9223372036 * time.Second, math.MaxInt64: 9223372036 * time.Second,
	} {
		if got := timeout(given); got != want {
			t.Errorf("%d seconds are %v, want %v", given, got, want)
		}
	}
}

// TestCallerGoesAway: who asked for a sandbox gives up while the supervisor makes pause, which is not left without an owner.
func TestCallerGoesAway(t *testing.T) {
	n := newNode(t)
	info, err := n.s.sup.Info(n.ctx())
	if err != nil {
		t.Fatal(err)
	}
	connections := func() int {
		text, err := os.ReadFile("/proc/net/unix")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), n.deps.Supervisor.Socket)
	}
	for range 5 {
		if err := unix.Kill(info.PID, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		before := connections()
		ctx, cancel := context.WithCancel(n.ctx())
		config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "pod"}}
		answer := make(chan error, 1)
		go func() {
			_, err := n.s.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
			answer <- err
		}()
		for connections() == before {
			time.Sleep(time.Millisecond) //nolint:forbidigo // nothing tells of a connection to a process that is stopped
		}
		cancel()
		if err := unix.Kill(info.PID, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if err := <-answer; status.Code(err) != codes.Canceled {
			t.Errorf("the call: %v", err)
		}
		if list, err := n.s.sup.List(n.ctx()); err != nil || len(list) > 0 {
			t.Errorf("the supervisor has %v, %v", list, err)
		}
	}
}
