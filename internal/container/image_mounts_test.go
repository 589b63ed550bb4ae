package container

import (
	"os"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestImageVolumes mounts an image, and a part of one, into containers of a
// plain pod and of one with a user namespace.
func TestImageVolumes(t *testing.T) {
	n := newNode(t)
	n.importImage("content:1", imageSpec{files: map[string]string{"data/hello": "from the image\n"}})
	found, err := n.s.ImageStatus(n.ctx(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: "content:1"}})
	if err != nil {
		t.Fatal(err)
	}
	id := found.GetImage().GetId()
	volumes := func(c *runtimeapi.ContainerConfig) {
		c.Mounts = []*runtimeapi.Mount{
			{ContainerPath: "/vol", Readonly: true, Image: &runtimeapi.ImageSpec{Image: "content:1"}},
			{ContainerPath: "/part/deep", Readonly: true, Image: &runtimeapi.ImageSpec{Image: id}, ImageSubPath: "data"},
		}
	}
	for name, change := range map[string]func(*runtimeapi.PodSandboxConfig){
		"plain": nil,
		"users": func(c *runtimeapi.PodSandboxConfig) {
			podUsers(c.Linux.SecurityContext.NamespaceOptions, runtimeapi.NamespaceMode_POD, idRange(0, mappedRoot, 65536))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "users" && os.Getenv(nativeDir) != "" {
				t.Skip("an overlay cannot be mounted with other owners")
			}
			box, config := n.sandbox(name, change)
			c := n.run(box, config, "app", volumes, "sleep", "1000")
			script := "cat /vol/data/hello /part/deep/hello; stat -c %u /vol/data/hello; /vol/bin/busybox echo runs; touch /vol/new /part/deep/new 2>/dev/null || echo refused"
			if out, _ := n.exec(c, "sh", "-c", script); out != "from the image\nfrom the image\n0\nruns\nrefused\n" {
				t.Errorf("%q", out)
			}
			for _, m := range n.status(c).GetMounts() {
				if m.GetImage().GetImageRef() != id {
					t.Errorf("mount without its image: %v", m)
				}
			}
			// The name may go, the files stay.
			if _, err := n.s.RemoveImage(n.ctx(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: id}}); err == nil {
				t.Error("an image that is mounted was removed")
			}
			if _, err := n.s.RemovePodSandbox(n.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: box}); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := n.s.RemoveImage(n.ctx(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: id}}); err != nil {
		t.Errorf("the image is still held: %v", err)
	}
}

func TestImageVolumeFaults(t *testing.T) {
	n := newNode(t)
	box, config := n.sandbox("pod", nil)
	image := &runtimeapi.ImageSpec{Image: "busybox:1"}
	for what, c := range map[string]struct {
		mount *runtimeapi.Mount
		code  codes.Code
	}{
		"writable":        {&runtimeapi.Mount{Image: image}, codes.InvalidArgument},
		"two sources":     {&runtimeapi.Mount{Image: image, Readonly: true, HostPath: "/tmp"}, codes.InvalidArgument},
		"no such part":    {&runtimeapi.Mount{Image: image, Readonly: true, ImageSubPath: "nowhere"}, codes.InvalidArgument},
		"a part of a dir": {&runtimeapi.Mount{HostPath: t.TempDir(), Readonly: true, ImageSubPath: "x"}, codes.InvalidArgument},
		"shared":          {&runtimeapi.Mount{Image: image, Readonly: true, Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL}, codes.InvalidArgument},
		"no such image":   {&runtimeapi.Mount{Image: &runtimeapi.ImageSpec{Image: "nobody:1"}, Readonly: true}, codes.NotFound},
	} {
		c.mount.ContainerPath = "/vol"
		_, err := n.create(box, config, "app", func(cc *runtimeapi.ContainerConfig) { cc.Mounts = []*runtimeapi.Mount{c.mount} }, "true")
		if status.Code(err) != c.code {
			t.Errorf("%s: %v", what, err)
		}
	}
}
