package container

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestFullDiskTellsTheExit ends a container whose record cannot be written: who listens hears of it, and the sandbox can
// be stopped.
func TestFullDiskTellsTheExit(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "a", nil, "sleep", "1000")
	events := n.s.Events(n.ctx())
	// Nothing can be written to a read-only mount, as on a full disk.
	for _, dir := range []string{n.s.containerDir(id), n.s.sandboxDir(box)} {
		for _, flags := range []uintptr{unix.MS_BIND, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY} {
			if err := unix.Mount(dir, dir, "", flags, ""); err != nil {
				t.Fatal(err)
			}
		}
		defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	}
	if err := unix.Kill(n.s.containers[id].rec.Load().PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	limit := time.After(time.Minute)
	for told := false; !told; {
		select {
		case e := <-events:
			told = e.GetContainerId() == id && e.GetContainerEventType() == runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT
		case <-limit:
			t.Fatal("nobody was told of the exit")
		}
	}
	if s := n.status(id); s.ExitCode != 137 || s.State != runtimeapi.ContainerState_CONTAINER_EXITED {
		t.Errorf("status %v", s)
	}
	if _, err := n.s.StopPodSandbox(n.ctx(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: box}); err != nil {
		t.Errorf("stopping the sandbox: %v", err)
	}
}

// TestStopAndStartAtOnce starts containers while their sandbox is stopped: none runs afterwards.
func TestStopAndStartAtOnce(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	var all []string
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		id, err := n.create(box, config, name, nil, "sleep", "1000")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, id)
	}
	var wg sync.WaitGroup
	for _, id := range all {
		wg.Go(func() {
			// It starts or is refused.
			_, _ = n.s.StartContainer(n.ctx(), &runtimeapi.StartContainerRequest{ContainerId: id})
		})
	}
	if _, err := n.s.StopPodSandbox(n.ctx(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: box}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for _, id := range all {
		if s := n.status(id); s.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			t.Errorf("container %s runs in a sandbox that was stopped", s.Metadata.Name)
		}
	}
	if procs, _ := filepath.Glob("/sys/fs/cgroup/pids" + n.cgroup + "/*/cgroup.procs"); len(procs) > 0 {
		for _, p := range procs {
			if data, _ := os.ReadFile(p); len(data) > 0 {
				t.Errorf("%s holds %q", p, data)
			}
		}
	}
}
