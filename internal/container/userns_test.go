package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const mappedRoot = 200000

func podUsers(o *runtimeapi.NamespaceOption, mode runtimeapi.NamespaceMode, ids ...*runtimeapi.IDMapping) {
	o.UsernsOptions = &runtimeapi.UserNamespace{Mode: mode, Uids: ids, Gids: ids}
}

func idRange(container, host, length uint32) *runtimeapi.IDMapping {
	return &runtimeapi.IDMapping{ContainerId: container, HostId: host, Length: length}
}

// TestUserNamespace runs two containers of a pod in its user namespace: root inside is nobody on the node, the image's
// and the volume's files look as they lie on disk, and all that containers do works as ever.
func TestUserNamespace(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) {
		podUsers(c.Linux.SecurityContext.NamespaceOptions, runtimeapi.NamespaceMode_POD, idRange(0, mappedRoot, 65536))
	})
	volume := t.TempDir()
	for name, id := range map[string]int{"root": 0, "user": 1000} {
		path := filepath.Join(volume, name)
		if err := os.WriteFile(path, []byte(name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, id, id); err != nil {
			t.Fatal(err)
		}
	}
	mapped := func(c *runtimeapi.ContainerConfig) {
		ids := []*runtimeapi.IDMapping{idRange(0, mappedRoot, 65536)}
		c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/vol", HostPath: volume, UidMappings: ids, GidMappings: ids}}
	}
	a := n.run(box, config, "a", mapped, "sh", "-c", "trap 'exit 7' TERM; echo started; while :; do sleep 0.05; done")
	b := n.run(box, config, "b", mapped, "sleep", "1000")
	script := "id -u; cat /proc/self/uid_map | tr -s ' '; stat -c %u /bin/busybox /vol/root /vol/user; cat /vol/root; echo new > /vol/new; echo x > /made; stat -c %u /made /vol/new; test -c /dev/null && echo y > /dev/null && echo z > /dev/shm/z && cat /etc/hosts > /etc/hosts2 && echo fine"
	want := fmt.Sprintf("0\n 0 %d 65536\n0\n0\n1000\nroot\n0\n0\nfine\n", mappedRoot)
	if out, code := n.exec(a, "sh", "-c", script); out != want || code != 0 {
		t.Errorf("inside: %q %d, want %q", out, code, want)
	}
	for _, kind := range []string{"user", "net", "ipc", "uts"} {
		x, _ := n.exec(a, "readlink", "/proc/1/ns/"+kind)
		y, _ := n.exec(b, "readlink", "/proc/1/ns/"+kind)
		own, _ := os.Readlink("/proc/self/ns/" + kind)
		if x != y || strings.TrimSpace(x) == own || x == "" {
			t.Errorf("%s: %q, %q, the node's %q", kind, x, y, own)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(volume, "new"), &st); err != nil || st.Uid != 0 {
		t.Errorf("the new file of the volume belongs to %d: %v", st.Uid, err)
	}
	if err := unix.Lstat(fmt.Sprintf("/proc/%d", n.s.containers[a].rec.Load().PID), &st); err != nil || st.Uid != mappedRoot {
		t.Errorf("the process belongs to %d on the node: %v", st.Uid, err)
	}
	if out := n.log(a); !strings.Contains(out, "started") {
		t.Errorf("log %q", out)
	}
	if _, err := n.s.StopContainer(n.ctx(), &runtimeapi.StopContainerRequest{ContainerId: a, Timeout: 5}); err != nil {
		t.Fatal(err)
	}
	if s := n.status(a); s.ExitCode != 7 {
		t.Errorf("status %v", s)
	}
	answer, err := n.s.PodSandboxStatus(n.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: box})
	if err != nil || answer.GetStatus().GetLinux().GetNamespaces().GetOptions().GetUsernsOptions().GetUids()[0].GetHostId() != mappedRoot {
		t.Errorf("the sandbox's status: %v %v", answer, err)
	}
}

// TestUserNamespaceRefused asks for what cannot be.
// TestUserNamespaceOwnsImageVolumes: what an image declares as a volume has the owners that it has in the image, and root
// of the pod can write to it.
func TestUserNamespaceOwnsImageVolumes(t *testing.T) {
	n := newNode(t)
	n.importImage("volume:1", imageSpec{
		Volumes: map[string]struct{}{"/data": {}, "/empty": {}},
		files:   map[string]string{"data/seed": "from image\n"},
	})
	box, config := n.sandbox("pod", func(c *runtimeapi.PodSandboxConfig) {
		podUsers(c.Linux.SecurityContext.NamespaceOptions, runtimeapi.NamespaceMode_POD, idRange(0, mappedRoot, 65536))
	})
	id := n.run(box, config, "app", func(c *runtimeapi.ContainerConfig) { c.Image.Image = "volume:1" }, "sleep", "1000")
	script := "stat -c %u:%g /data /empty /data/seed && echo more >> /data/seed && cat /data/seed && echo x > /empty/x && stat -c %u /empty/x"
	if out, code := n.exec(id, "sh", "-c", script); code != 0 || out != "0:0\n0:0\n0:0\nfrom image\nmore\n0\n" {
		t.Errorf("inside: %q %d", out, code)
	}
}

func TestUserNamespaceRefused(t *testing.T) {
	n := newNode(t)
	good := idRange(0, mappedRoot, 65536)
	for name, change := range map[string]func(o *runtimeapi.NamespaceOption){
		"container":    func(o *runtimeapi.NamespaceOption) { podUsers(o, runtimeapi.NamespaceMode_CONTAINER, good) },
		"target":       func(o *runtimeapi.NamespaceOption) { podUsers(o, runtimeapi.NamespaceMode_TARGET, good) },
		"no mapping":   func(o *runtimeapi.NamespaceOption) { podUsers(o, runtimeapi.NamespaceMode_POD) },
		"two":          func(o *runtimeapi.NamespaceOption) { podUsers(o, runtimeapi.NamespaceMode_POD, good, good) },
		"root is root": func(o *runtimeapi.NamespaceOption) { podUsers(o, runtimeapi.NamespaceMode_POD, idRange(0, 0, 65536)) },
		"without root": func(o *runtimeapi.NamespaceOption) { podUsers(o, runtimeapi.NamespaceMode_POD, idRange(1, 5000, 10)) },
		"beyond all ids": func(o *runtimeapi.NamespaceOption) {
			podUsers(o, runtimeapi.NamespaceMode_POD, idRange(0, 1<<32-10, 65536))
		},
		"the node's pids": func(o *runtimeapi.NamespaceOption) {
			podUsers(o, runtimeapi.NamespaceMode_POD, good)
			o.Pid = runtimeapi.NamespaceMode_NODE
		},
		"different groups": func(o *runtimeapi.NamespaceOption) {
			podUsers(o, runtimeapi.NamespaceMode_POD, good)
			o.UsernsOptions.Gids = []*runtimeapi.IDMapping{idRange(0, 300000, 65536)}
		},
	} {
		config := &runtimeapi.PodSandboxConfig{
			Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Uid: name, Namespace: "default"},
			Linux:    &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{}}},
		}
		change(config.Linux.SecurityContext.NamespaceOptions)
		if _, err := n.s.RunPodSandbox(n.ctx(), &runtimeapi.RunPodSandboxRequest{Config: config}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
