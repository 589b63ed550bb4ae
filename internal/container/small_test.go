package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/supervisor"
)

// roomy are options of a tmpfs with room for everything.
const roomy = "nr_inodes=100000,size=1g"

// small is a node whose state lies on a file system that can be made as small as one likes.
type small struct {
	*node
	dir string
}

func newSmall(t *testing.T) *small {
	t.Helper()
	n := newNode(t)
	n.stop()
	if err := supervisor.NewClient(n.deps.Supervisor).Shutdown(n.ctx(), true); err != nil {
		t.Fatal(err)
	}
	s := &small{n, filepath.Join(n.dir, "small")}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", s.dir, "tmpfs", 0, "mode=700,"+roomy); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	before := n.deps
	n.deps.Dir, n.deps.RunDir = filepath.Join(s.dir, "containers"), filepath.Join(s.dir, "run")
	n.deps.Supervisor.Dir, n.deps.Supervisor.Socket = filepath.Join(s.dir, "s"), filepath.Join(n.dir, "small.sock")
	n.start()
	t.Cleanup(func() { // before the node's own
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.limit(roomy)
		n.removeAll(ctx)
		n.stop()
		if err := n.s.sup.Shutdown(ctx, true); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(s.dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		n.deps = before
		n.start()
	})
	return s
}

func (s *small) limit(options string) {
	s.t.Helper()
	if err := unix.Mount("tmpfs", s.dir, "tmpfs", unix.MS_REMOUNT, options); err != nil {
		s.t.Fatalf("%s: %v", options, err)
	}
}

// used are the inodes and the bytes that are taken.
func (s *small) used() (inodes, bytes int64) {
	s.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		s.t.Fatal(err)
	}
	return int64(st.Files - st.Ffree), int64(st.Blocks-st.Bfree) * st.Bsize
}

// once tells what is made when it is first needed, and stays.
func once(path string) bool {
	return path == "run/sandboxes" || strings.HasPrefix(path, "run/pause/dev/") || path == "s/supervisor.log" || strings.HasPrefix(path, "s/inflight") ||
		path == "s/foreign" || path == "s/foreign-state"
}

// things are all files, mounts and cgroups of the node, and what the supervisor has.
func (s *small) things() (all []string) {
	s.t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			return nil
		}
		if !once(strings.TrimPrefix(path, s.dir+"/")) {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, s.dir) {
			all = append(all, strings.Fields(line)[4]+" is mounted")
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*" + s.cgroup, "/sys/fs/cgroup" + s.cgroup} {
		found, _ := filepath.Glob(pattern + "/pod/*")
		for _, dir := range found {
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				all = append(all, dir)
			}
		}
	}
	list, err := s.s.sup.List(s.ctx())
	if err != nil {
		s.t.Error(err)
	}
	for _, c := range list {
		all = append(all, "container "+c.ID)
	}
	slices.Sort(all)
	return all
}

// news is what is there now and was not.
func (s *small) news(before []string) (all []string) {
	s.t.Helper()
	for _, x := range s.things() {
		// The writable layer goes with its container.
		if !slices.Contains(before, x) && !slices.ContainsFunc(before, func(b string) bool { return strings.HasPrefix(x, b+"/") && strings.HasSuffix(b, "/work") }) {
			all = append(all, x)
		}
	}
	return all
}

// same tells what is there now and was not, or the other way round.
func (s *small) same(what string, before []string) {
	s.t.Helper()
	for _, x := range s.news(before) {
		s.t.Errorf("%s leaves %s", what, x)
	}
	after := s.things()
	for _, x := range before {
		if !slices.Contains(after, x) {
			s.t.Errorf("%s takes %s away", what, x)
		}
	}
}

// TestFullDiskUndoesEveryStep makes a pod on a disk that has room for nothing, then for one file more each time, or for one page,
// until it runs: whichever step does not find room, the call fails, and what was done is undone.
func TestFullDiskUndoesEveryStep(t *testing.T) {
	for _, c := range []struct{ kind, handler string }{{"inodes", ""}, {"bytes", ""}, {"inodes", "crun"}, {"bytes", "crun"}} {
		kind := c.kind
		t.Run(kind+c.handler, func(t *testing.T) {
			s := newSmall(t)
			if _, err := os.Stat(crun); err != nil && c.handler != "" {
				t.Skip("no crun (Debian: crun)")
			}
			s.s.deps.Handlers = map[string]string{"crun": crun}
			s.importImage("volume:1", imageSpec{Volumes: map[string]struct{}{"/data": {}}, files: map[string]string{"data/seed": strings.Repeat("x", 10000)}})
			failed := map[string]int{}
			for room := int64(0); ; room++ {
				if room > 300 {
					t.Fatalf("it never runs: %v", failed)
				}
				inodes, bytes := s.used()
				if kind == "inodes" {
					s.limit(fmt.Sprint("nr_inodes=", inodes+room))
				} else {
					s.limit(fmt.Sprint("size=", bytes+room*4096))
				}
				step, err := s.pod(room, c.handler)
				s.limit(roomy)
				if step == "" {
					break
				}
				failed[step]++
				if c.handler == "" && !strings.Contains(err.Error(), "no space left on device") { // crun does not always say why
					t.Errorf("%s with room for %d: %v", step, room, err)
				}
			}
			t.Logf("calls that failed: %v", failed)
			if failed["sandbox"] == 0 || failed["create"] == 0 || failed["start"] == 0 {
				t.Errorf("not every call failed: %v", failed)
			}
		})
	}
}

// pod makes and removes a pod and returns the step that failed; it looks that the step left nothing.
func (s *small) pod(n int64, handler string) (step string, err error) {
	s.t.Helper()
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "pod", Namespace: "default", Uid: fmt.Sprint(n)}, Hostname: "pod",
		LogDirectory: filepath.Join(s.node.dir, "logs", "pod"),
		Linux: &runtimeapi.LinuxPodSandboxConfig{CgroupParent: s.cgroup + "/pod", SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
	nothing := s.things()
	made, err := s.s.RunPodSandbox(s.ctx(), &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		s.same(fmt.Sprintf("a failed sandbox (%v)", err), nothing)
		return "sandbox", err
	}
	box := made.GetPodSandboxId()
	defer func() {
		if _, err := s.s.RemovePodSandbox(s.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: box}); err != nil {
			s.t.Errorf("removing the sandbox: %v", err)
		}
		s.same("a removed sandbox", nothing)
	}()
	sandbox := s.things()
	id, err := s.create(box, config, "app", func(c *runtimeapi.ContainerConfig) {
		c.Image.Image, c.Stdin = "volume:1", true
	}, "sleep", "1000")
	if err != nil {
		s.same(fmt.Sprintf("a failed create (%v)", err), sandbox)
		return "create", err
	}
	created := s.things()
	if _, err := s.s.StartContainer(s.ctx(), &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		s.same(fmt.Sprintf("a failed start (%v)", err), created)
		if st := s.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.Reason != startErrorReason {
			s.t.Errorf("status of one that did not start: %v", st)
		}
		return "start", err
	}
	return "", nil
}
