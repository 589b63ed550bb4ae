package container

import (
	"math"
	"strings"
	"sync"
	"testing"
	"time"

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
