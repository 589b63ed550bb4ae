package kubelet

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// imageVolume adds a volume that is an image to a pod, as a whole and in part.
func imageVolume(p *v1.Pod, image string, policy v1.PullPolicy) {
	p.Spec.Volumes = []v1.Volume{{Name: "image", VolumeSource: v1.VolumeSource{Image: &v1.ImageVolumeSource{Reference: image, PullPolicy: policy}}}}
	p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "image", MountPath: "/image"}, {Name: "image", MountPath: "/part", SubPath: "etc"}}
}

// tryImageVolume mounts an image into containers, also in a user namespace, and
// says what is wrong with one that cannot be had.
func tryImageVolume(t *testing.T, c *testCluster) {
	script := `test -x /image/bin/busybox && test -s /part/passwd && ! touch /image/new && ! touch /part/new && test $(stat -c %u /part/passwd) = 0`
	no := false
	c.pod("image-volume", script, func(p *v1.Pod) { never(p); imageVolume(p, "busybox", v1.PullIfNotPresent) })
	c.pod("image-volume-users", script, func(p *v1.Pod) {
		never(p)
		p.Spec.HostUsers = &no
		imageVolume(p, "busybox", v1.PullIfNotPresent)
	})
	c.pod("image-volume-missing", forever, func(p *v1.Pod) { imageVolume(p, "no.such/image:2", v1.PullNever) })
	c.pod("image-volume-unreachable", forever, func(p *v1.Pod) { imageVolume(p, "127.0.0.1:1/no/such:1", v1.PullIfNotPresent) })
	c.pod("image-volume-part", forever, func(p *v1.Pod) {
		imageVolume(p, "busybox", v1.PullIfNotPresent)
		p.Spec.Containers[0].VolumeMounts[1].SubPath = "nowhere"
	})
	for _, name := range []string{"image-volume", "image-volume-users"} {
		p := c.await(name, "done", func(p *v1.Pod) bool { return mainStatus(p).State.Terminated != nil })
		if s := mainStatus(p).State.Terminated; s.ExitCode != 0 {
			t.Errorf("pod %s: %+v", name, s)
		}
	}
	waits := func(reason, words string) func(*v1.Pod) bool {
		return func(p *v1.Pod) bool {
			w := mainStatus(p).State.Waiting
			return w != nil && w.Reason == reason && strings.Contains(w.Message, words)
		}
	}
	c.await("image-volume-missing", "ErrImageNeverPull", waits(reasonNeverPull, "no.such/image:2"))
	c.await("image-volume-unreachable", "ImagePullBackOff", waits(reasonPullBackOff, `Back-off pulling image "127.0.0.1:1/no/such:1": `))
	c.await("image-volume-part", "CreateContainerError", waits(reasonCreateError, `"nowhere"`))
}
