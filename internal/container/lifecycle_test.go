package container

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
	"go.skiff.dev/skiff/internal/supervisor"
)

func TestPodLife(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("b")}}
	}, "sh", "-c", "echo hello; sleep 1000")
	if out, code := n.exec(id, "sh", "-c", "echo $FROM $A $HOSTNAME; hostname; cat /etc/resolv.conf; exit 3"); code != 3 ||
		out != "image b pod\npod\nsearch svc.cluster.local\nnameserver 10.43.0.10\noptions ndots:5\n" {
		t.Errorf("exec: %q, %d", out, code)
	}
	began := time.Now()
	if _, err := n.s.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 1}); err != nil {
		t.Fatal(err)
	}
	// A shell as pid 1 has no handler for TERM: it is killed after the grace period.
	if took := time.Since(began); took < time.Second || took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	st := n.status(id)
	if st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 137 || st.Reason != "Error" || st.FinishedAt == 0 {
		t.Errorf("status %v", st)
	}
	if got := n.log(id); got != "hello\n" {
		t.Errorf("log %q", got)
	}
	done := n.run(box, config, "done", nil, "sh", "-c", "trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done")
	n.untilLogged(done, "up")
	if _, err := n.s.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: done, Timeout: 30}); err != nil {
		t.Fatal(err)
	}
	if st := n.status(done); st.ExitCode != 0 || st.Reason != "Completed" {
		t.Errorf("status %v", st)
	}
}

func TestMissingCommandIsAStartError(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id, err := n.create(box, config, "app", nil, "no-such-program")
	if err != nil {
		t.Fatal(err)
	}
	_, err = n.s.StartContainer(n.ctx(), &runtimeapi.StartContainerRequest{ContainerId: id})
	if err == nil || !strings.Contains(err.Error(), `exec: "no-such-program": executable file not found in $PATH`) {
		t.Errorf("error %v", err)
	}
	st := n.status(id)
	if st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 128 || st.Reason != "StartError" {
		t.Errorf("status %v", st)
	}
	_, err = n.create(box, config, "missing", func(c *runtimeapi.ContainerConfig) { c.Image.Image = "no-such-image:1" })
	if status.Code(err) != codes.NotFound {
		t.Errorf("missing image: %v", err)
	}
}

func TestNamespacesAreSharedAsTheSeedsShow(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	a := n.run(box, config, "a", nil, "sleep", "1000")
	b := n.run(box, config, "b", nil, "sleep", "1000")
	ns := func(id, kind string) string {
		out, _ := n.exec(id, "readlink", "/proc/1/ns/"+kind)
		return out
	}
	for _, kind := range []string{"net", "ipc", "uts"} {
		if x, y := ns(a, kind), ns(b, kind); x != y || x == "" {
			t.Errorf("%s: %q and %q", kind, x, y)
		}
	}
	for _, kind := range []string{"pid", "mnt", "cgroup"} {
		if x, y := ns(a, kind), ns(b, kind); x == y {
			t.Errorf("%s is shared: %q", kind, x)
		}
	}
	n.exec(a, "sh", "-c", "echo shared > /dev/shm/x")
	if out, _ := n.exec(b, "cat", "/dev/shm/x"); out != "shared\n" {
		t.Errorf("shm: %q", out)
	}
}

func TestSharedProcessNamespace(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	})
	a := n.run(box, config, "a", nil, "sleep", "1234")
	b := n.run(box, config, "b", nil, "sleep", "1000")
	if out, _ := n.exec(b, "ps"); !strings.Contains(out, "sleep 1234") || !strings.Contains(out, "pause") {
		t.Errorf("ps: %q", out)
	}
	if _, err := n.s.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: a, Timeout: 5}); err != nil {
		t.Fatal(err)
	}
	if st := n.status(a); st.ExitCode != 143 {
		t.Errorf("status %v", st)
	}
}

func TestUsers(t *testing.T) {
	n := newNode(t)
	n.importImage("user:1", imageSpec{User: "user"})
	n.importImage("wrap:1", imageSpec{User: "4294967296"})
	box, config := n.sandbox("pod", nil)
	for name, c := range map[string]struct {
		change func(*runtimeapi.ContainerConfig)
		want   string
	}{
		"root": {nil, "0 0 0"},
		"image": {func(c *runtimeapi.ContainerConfig) {
			c.Image.Image = "user:1"
			c.Linux.SecurityContext.SupplementalGroups = []int64{7}
		}, "1000 1001 1001 7 2000"},
		"number": {func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 4711}
			c.Linux.SecurityContext.RunAsGroup = &runtimeapi.Int64Value{Value: 4712}
		}, "4711 4712 4712"},
		"strict": {func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.RunAsUsername = "user"
			c.Linux.SecurityContext.SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
		}, "1000 1001 1001"},
	} {
		t.Run(name, func(t *testing.T) {
			id := n.run(box, config, name, c.change, "sh", "-c", "echo $(id -u) $(id -g) $(id -G)")
			n.wait(id)
			if got := n.log(id); got != c.want+"\n" {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if _, err := n.create(box, config, "wrap", func(c *runtimeapi.ContainerConfig) { c.Image.Image = "wrap:1" }); status.Code(err) != codes.InvalidArgument {
		t.Errorf("user 2^32: %v", err)
	}
}

func TestKilledSkiffFindsEverythingAgain(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	lives := n.run(box, config, "lives", nil, "sleep", "1000")
	dies := n.run(box, config, "dies", nil, "sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 42")
	created, err := n.create(box, config, "created", nil, "true")
	if err != nil {
		t.Fatal(err)
	}
	before := n.s.containers[lives].rec.Load().PID
	n.stop() // the supervisor's events go unheard from here on
	root := n.s.containerDir(dies) + "/upper/tmp/go"
	c, _ := n.s.findContainer(dies)
	if err := os.WriteFile("/proc/"+itoa(c.rec.Load().PID)+"/root/tmp/go", nil, 0o644); err != nil {
		t.Fatal(err, root)
	}
	if _, err := supervisor.NewClient(n.deps.Supervisor).Wait(n.ctx(), dies); err != nil {
		t.Fatal(err)
	}
	n.start()
	if st := n.status(dies); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 42 {
		t.Errorf("the one that died: %v", st)
	}
	if st := n.status(lives); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING || n.s.containers[lives].rec.Load().PID != before {
		t.Errorf("the one that lives: %v", st)
	}
	if out, _ := n.exec(lives, "echo", "x"); out != "x\n" {
		t.Errorf("exec: %q", out)
	}
	if _, err := n.s.StartContainer(n.ctx(), &runtimeapi.StartContainerRequest{ContainerId: created}); err != nil {
		t.Error(err)
	}
	if st := n.wait(created); st.ExitCode != 0 {
		t.Errorf("the one that was created: %v", st)
	}
}

func TestOutOfMemoryIsSaid(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 16 << 20}
	}, "sh", "-c", "tail -c 100m /dev/zero; exit 1")
	if st := n.wait(id); st.Reason != "OOMKilled" {
		t.Errorf("status %v", st)
	}
}

func TestExecTimesOut(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sleep", "1000")
	_, err := n.s.ExecSync(n.ctx(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"sleep", "1000"}, Timeout: 1})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error %v", err)
	}
	if out, _ := n.exec(id, "ps"); strings.Count(out, "sleep 1000") != 1 {
		t.Errorf("the command still runs: %s", out)
	}
}

func TestDeadPauseMakesTheSandboxNotReady(t *testing.T) {
	n := newNode(t)
	box, _ := n.sandbox("pod", nil)
	b, _ := n.s.findSandbox(box)
	if err := unix.Kill(b.rec.Load().PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.stopped:
	case <-time.After(time.Minute):
		t.Fatal("nobody noticed")
	}
	resp, err := n.s.PodSandboxStatus(n.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box})
	if err != nil || resp.Status.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("status %v, %v", resp, err)
	}
}

func TestKilledSupervisorIsReplaced(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	id := n.run(box, config, "app", nil, "sh", "-c", "trap 'exit 9' TERM; echo up; while true; do sleep 0.05; done")
	for range 3 {
		info, err := n.s.sup.Info(n.ctx())
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdOpen(info.PID, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(info.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000)
		unix.Close(fd)
		if out, code := n.exec(id, "echo", "still here"); out != "still here\n" || code != 0 {
			t.Errorf("exec: %q %d", out, code)
		}
	}
	if _, err := n.s.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 20}); err != nil {
		t.Fatal(err)
	}
	// The exit code of a process that is nobody's child can be read where the
	// kernel keeps it (Linux 6.15), or from a zombie; it is never a success.
	if st := n.status(id); st.ExitCode != 9 && st.ExitCode != 255 {
		t.Errorf("status %v", st)
	}
}

// TestLastWordsOutliveSupervisor: a container ends while its supervisor cannot read what it writes, and the supervisor is
// killed: the next one finds its last words. Nothing is held when it has ended.
func TestLastWordsOutliveSupervisor(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	script := "trap 'i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo out $i; done; echo error >&2; exit 9' TERM; echo up; while true; do sleep 0.05; done"
	found := n.run(box, config, "found", nil, "sh", "-c", script)
	n.untilLogged(found, "up")
	n.stop()
	n.start() // who finds it running holds it as well
	started := n.run(box, config, "started", nil, "sh", "-c", script)
	n.untilLogged(started, "up")
	want := []string{"up"}
	for i := range 1000 {
		want = append(want, fmt.Sprint("out ", i+1))
	}
	for _, id := range []string{started, found} {
		info, err := n.s.sup.Info(n.ctx())
		if err != nil {
			t.Fatal(err)
		}
		process, err := pidfd.Open(n.record(id).PID, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer process.Close()
		if err := unix.Kill(info.PID, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := pidfd.Signal(process, unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := oci.WaitGone(n.ctx(), process); err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(info.PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if st := n.wait(id); st.ExitCode != 9 && st.ExitCode != 255 {
			t.Errorf("status %v", st)
		}
		var got []string
		errors := 0
		for line := range strings.Lines(n.log(id)) {
			if line == "error\n" {
				errors++
				continue
			}
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
		if !slices.Equal(got, want) || errors != 1 {
			t.Errorf("%d lines of %d, the last %q; %d on standard error", len(got), len(want), got[len(got)-1], errors)
		}
	}
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		if to, _ := os.Readlink(fd); strings.HasPrefix(to, n.deps.Supervisor.Dir) && strings.Contains(to, ".pipes") {
			t.Errorf("%s is still held", to)
		}
	}
}
